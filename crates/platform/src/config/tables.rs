//! Tables of a configuration file, which a program reads itself: a flag cannot hold them.

/// Programs and the tables that each has.
const TABLES: [(&str, &str); 2] = [("relay-server", "camera"), ("relay-server", "events")];

/// Returns whether a key of a program's file may be a table.
pub(super) fn is_table(program: &str, key: &str) -> bool {
    TABLES.contains(&(program, key))
}
