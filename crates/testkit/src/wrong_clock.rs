//! Programs with a wrong clock: a small library, loaded before the C library, that shifts the time.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Environment variable with the number of seconds by which a program's clock is ahead; the program runs with the library
/// as `LD_PRELOAD`.
pub const AHEAD: &str = "CLOCK_AHEAD";

/// Environment variable with the name of a file that holds this number, which may change while the program runs.
pub const AHEAD_FILE: &str = "CLOCK_AHEAD_FILE";

/// Source of the library, which replaces the C library's functions of time.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long long ahead(void) {
    const char *seconds = getenv("CLOCK_AHEAD"), *file = getenv("CLOCK_AHEAD_FILE");
    char text[32] = "";
    if (file) {
        int opened = open(file, O_RDONLY);
        if (opened >= 0) {
            if (read(opened, text, sizeof text - 1) > 0) seconds = text;
            close(opened);
        }
    }
    return seconds ? atoll(seconds) : 0;
}

int clock_gettime(clockid_t id, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(id, now);
    if (!failed && id == CLOCK_REALTIME) now->tv_sec += ahead();
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    (void)zone;
    struct timespec precise;
    int failed = clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return failed;
}

time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}
"#;

/// Compiles the library into this directory and returns its path; `None` if there is no C compiler.
pub fn library(dir: &Path) -> Option<PathBuf> {
    let (source, library) = (dir.join("clock.c"), dir.join("clock.so"));
    fs::write(&source, SHIM).ok()?;
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .arg("-ldl")
        .status();
    compiled
        .is_ok_and(|status| status.success())
        .then_some(library)
}
