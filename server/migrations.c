/*
 * The schema, one string for each version. A released version is never edited: a change of the schema is a new string at
 * the end. PRAGMA user_version holds the number of strings that were applied.
 *
 * seq orders lists (newest first) and is never used again, so that a page's end stays valid when rows go. Names are unique
 * within a kind; NULL names are not compared. A run names its model and data set without a foreign key: a finished run
 * outlives them. JSON columns are read by api/ only.
 */
#include "server/db.h"

const char *const gn_migrations[] = {
    "CREATE TABLE models ("
    " seq INTEGER PRIMARY KEY AUTOINCREMENT,"
    " id TEXT NOT NULL UNIQUE,"
    " name TEXT UNIQUE,"
    " created_at INTEGER NOT NULL,"
    " bytes INTEGER NOT NULL,"
    " base TEXT REFERENCES models(id) ON DELETE RESTRICT,"
    " run TEXT,"
    " fields TEXT NOT NULL);"
    "CREATE INDEX models_base ON models(base);"
    "CREATE TABLE datasets ("
    " seq INTEGER PRIMARY KEY AUTOINCREMENT,"
    " id TEXT NOT NULL UNIQUE,"
    " name TEXT UNIQUE,"
    " created_at INTEGER NOT NULL,"
    " bytes INTEGER NOT NULL,"
    " fields TEXT NOT NULL);"
    "CREATE TABLE runs ("
    " seq INTEGER PRIMARY KEY AUTOINCREMENT,"
    " id TEXT NOT NULL UNIQUE,"
    " name TEXT UNIQUE,"
    " created_at INTEGER NOT NULL,"
    " started_at INTEGER NOT NULL DEFAULT 0,"
    " finished_at INTEGER NOT NULL DEFAULT 0,"
    " status TEXT NOT NULL CHECK (status IN ('queued','running','succeeded','failed','cancelled')),"
    " priority INTEGER NOT NULL,"
    " attempts INTEGER NOT NULL DEFAULT 0,"
    " deaths INTEGER NOT NULL DEFAULT 0,"
    " model TEXT NOT NULL,"
    " dataset TEXT NOT NULL,"
    " request TEXT NOT NULL,"
    " plan TEXT NOT NULL,"
    " progress TEXT,"
    " result TEXT,"
    " error TEXT);"
    "CREATE INDEX runs_active_model ON runs(model) WHERE status IN ('queued','running');"
    "CREATE INDEX runs_active_dataset ON runs(dataset) WHERE status IN ('queued','running');"
    "CREATE TABLE answers ("
    " key TEXT PRIMARY KEY,"
    " created_at INTEGER NOT NULL,"
    " hash TEXT NOT NULL,"
    " status INTEGER NOT NULL,"
    " location TEXT,"
    " body BLOB NOT NULL);"
    "CREATE INDEX answers_age ON answers(created_at);",
    NULL,
};
