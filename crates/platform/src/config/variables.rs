//! Environment variables that look like a setting of the program and are none, such as a mistyped name.

use std::env;

use clap::Parser;
use tracing::warn;

use super::{command, settings, variable};

/// Logs each environment variable that starts with the program's name and sets nothing, with the nearest name that does.
pub fn warn_of_unknown_variables<A: Parser>() {
    let command = command::<A>();
    let program = command.get_name();
    let keys = settings(&command).filter_map(clap::Arg::get_long);
    let known: Vec<String> = keys
        .chain(["config"])
        .map(|key| variable(program, key).to_string_lossy().into_owned())
        .collect();
    let prefix = variable(program, "").to_string_lossy().into_owned();
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    let set = env::vars_os().map(|(name, value)| (text(name), text(value)));
    for (name, nearest) in unknown(&prefix, &known, set) {
        warn!("the environment variable {name} sets nothing; did you mean {nearest}?");
    }
}

/// Returns the variables with this prefix that are not known, each with the nearest name that is.
fn unknown(
    prefix: &str,
    known: &[String],
    set: impl Iterator<Item = (String, String)>,
) -> Vec<(String, String)> {
    let unknown = set.filter(|(name, value)| {
        let key = name.strip_prefix(prefix);
        key.is_some_and(|key| !value.is_empty() && !is_kubernetes(key, value))
            && !known.contains(name)
    });
    let with_nearest = unknown.filter_map(|(name, _)| {
        let distance = |known: &&String| strsim::damerau_levenshtein(known, &name);
        let nearest = known.iter().min_by_key(distance)?.clone();
        Some((name, nearest))
    });
    with_nearest.collect()
}

/// Returns whether Kubernetes sets such a variable, as it does in all containers for a service that is named like the
/// program.
fn is_kubernetes(key: &str, value: &str) -> bool {
    key.starts_with("SERVICE_")
        || key.starts_with("PORT_")
        || (key == "PORT" && value.contains("://"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(set: &[(&str, &str)]) -> Vec<(String, String)> {
        let known = [
            "RELAY_SERVER_LISTEN",
            "RELAY_SERVER_EVERY",
            "RELAY_SERVER_CONFIG",
        ];
        let set = set
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        unknown("RELAY_SERVER_", &known.map(str::to_owned), set)
    }

    #[test]
    fn a_mistyped_variable_is_found_with_the_name_that_was_meant() {
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(
            found(&[("RELAY_SERVER_EVRY", "3"), ("RELAY_SERVER_LISTENS", "x")]),
            [
                pair("RELAY_SERVER_EVRY", "RELAY_SERVER_EVERY"),
                pair("RELAY_SERVER_LISTENS", "RELAY_SERVER_LISTEN")
            ]
        );
        assert_eq!(found(&[("RELAY_SERVER_PORT", "9000")]).len(), 1);
    }

    #[test]
    fn known_empty_and_other_programs_variables_are_not_found() {
        for (name, value) in [
            ("RELAY_SERVER_EVERY", "3"),
            ("RELAY_SERVER_CONFIG", "x"),
            ("RELAY_SERVER_EVRY", ""),
            ("RELAY_EVRY", "3"),
            ("VIEWER_EVRY", "3"),
            ("RELAY_SERVER_SERVICE_HOST", "10.0.0.1"),
            ("RELAY_SERVER_PORT_8081_UDP_ADDR", "10.0.0.1"),
            ("RELAY_SERVER_PORT", "udp://10.0.0.1:8081"),
        ] {
            assert_eq!(found(&[(name, value)]), [], "{name}");
        }
    }
}
