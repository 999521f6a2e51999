// Functions that no file of gonio may call. The build includes this header before every source
// file.
//
// They write past a buffer's end, keep hidden state, or cannot report an error. The system headers
// that declare them come first, so that only a use, not the declaration, fails to compile.
#ifndef GN_BANNED_H
#define GN_BANNED_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

// The C library may have made macros of these; poisoning a macro is an error.
#undef strcpy
#undef strcat
#undef strncpy
#undef strncat
#undef sprintf
#undef vsprintf
#undef strtok
#undef gets

#pragma GCC poison strcpy strcat strncpy strncat sprintf vsprintf strtok gets atoi atol atoll atof
#pragma GCC poison asctime ctime gmtime localtime tmpnam mktemp

#endif
