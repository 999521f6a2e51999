/* Where a test's files lie. */
#ifndef SOURCE_H
#define SOURCE_H

/*
 * The folder that holds tests/: what GN_SOURCE_DIR names in the environment, or the source tree of
 * the build. Borrowed.
 */
const char *source_folder(void);

#endif
