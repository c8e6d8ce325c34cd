//! Which events `RUST_LOG` selects, and what is wrong with it. Pure.

use std::ffi::OsStr;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

/// The filter without `RUST_LOG`.
const DEFAULT: &str = "info";
/// ONNX Runtime reports each step of a model's optimisation as INFO: thousands of lines.
const RUNTIME: &str = "ort";
const RUNTIME_BOUND: &str = "ort=warn";
/// Crates that log. A word that is none of them and no level is a mistake (`inof`), of which the filter would make a target
/// that no event has, and the log would stay empty.
const CRATES: [&str; 20] = [
    "axum",
    "hyper",
    "imaging",
    "log",
    "mio",
    "ort",
    "pi_sender",
    "platform",
    "protocol",
    "quic",
    "quinn",
    "quinn_proto",
    "quinn_udp",
    "relay_core",
    "relay_server",
    "rustls",
    "tokio",
    "tungstenite",
    "viewer",
    "vision",
];

/// Returns the filter for a value of `RUST_LOG`, and the sentence for the user where the value cannot be used.
pub(super) fn filter(rust_log: Option<&OsStr>) -> (EnvFilter, Option<String>) {
    let value = rust_log.map(OsStr::to_string_lossy).unwrap_or_default();
    let value = match value.trim() {
        "" => DEFAULT,
        value => value,
    };
    match parse(value) {
        Ok(filter) => (filter, None),
        Err(why) => {
            let filter = EnvFilter::new(bounded(DEFAULT));
            (filter, Some(format!("RUST_LOG={value} is ignored: {why}")))
        }
    }
}

fn parse(value: &str) -> Result<EnvFilter, String> {
    if let Some(mistake) = directives(value).find(|directive| is_mistake(directive)) {
        return Err(format!(
            "`{mistake}` is neither a level nor a part of the program; write RUST_LOG=debug, or \
             RUST_LOG=info,relay_server=debug"
        ));
    }
    EnvFilter::try_new(bounded(value)).map_err(|err| {
        format!("{err}; the levels are off, error, warn, info, debug and trace, as in RUST_LOG=info,viewer=debug")
    })
}

/// Returns the value with a bound on ONNX Runtime, unless the value names that or selects no INFO of all parts.
fn bounded(value: &str) -> String {
    let named = directives(value).any(|directive| root(directive) == RUNTIME);
    let levels = directives(value).filter_map(|directive| directive.parse::<LevelFilter>().ok());
    match levels.last() {
        Some(level) if level >= LevelFilter::INFO && !named => format!("{value},{RUNTIME_BOUND}"),
        _ => value.to_owned(),
    }
}

fn directives(value: &str) -> impl Iterator<Item = &str> {
    value
        .split(',')
        .map(str::trim)
        .filter(|directive| !directive.is_empty())
}

/// Returns whether this is a target that no event can have.
fn is_mistake(directive: &str) -> bool {
    // Spans have a syntax of their own.
    if directive.contains(['[', ']', '{', '}']) {
        return false;
    }
    let is_word = !directive.contains('=');
    let is_level = directive.parse::<LevelFilter>().is_ok();
    let root = root(directive);
    // The crate of a program has an underscore in the place of a hyphen.
    root.contains('-') || is_word && !is_level && !CRATES.contains(&root)
}

/// Returns the crate that a directive names.
fn root(directive: &str) -> &str {
    let end = directive.find([':', '=', '[']);
    &directive[..end.unwrap_or(directive.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: &str) -> (String, Option<String>) {
        let (filter, mistake) = filter(Some(OsStr::new(value)));
        (filter.to_string(), mistake)
    }

    #[test]
    fn without_a_value_info_is_logged() {
        let (none, mistake) = filter(None);
        assert_eq!(mistake, None);
        for empty in ["", "  "] {
            assert_eq!(of(empty), (none.to_string(), None));
        }
        assert_eq!(none.max_level_hint(), Some(LevelFilter::INFO));
    }

    #[test]
    fn a_value_that_cannot_be_used_is_named_and_the_default_holds() {
        let (default, _) = of("");
        for (value, named) in [
            ("viewer=loud", "viewer=loud"),
            ("inof", "`inof`"),
            ("info,debgu", "`debgu`"),
            ("relay-server=debug", "`relay-server=debug`"),
            ("verbose", "`verbose`"),
            ("\u{1f600}", "\u{1f600}"),
        ] {
            let (filter, mistake) = of(value);
            assert_eq!(filter, default, "{value}");
            let mistake = mistake.unwrap();
            assert!(mistake.contains(named), "{mistake}");
            assert!(mistake.contains("as in RUST_LOG=") || mistake.contains("write RUST_LOG="));
        }
    }

    #[test]
    fn levels_crates_and_modules_are_no_mistake() {
        for value in [
            "debug",
            "DEBUG",
            "off",
            "3",
            "quinn",
            "viewer::receive",
            "info,relay_server=debug",
            "some_library=trace",
            "viewer[shown{seq=3}]=debug",
            "info,",
        ] {
            assert_eq!(of(value).1, None, "{value}");
        }
    }

    #[test]
    fn onnx_runtime_is_bounded_where_all_are_logged_unless_it_is_named() {
        for (value, bounded) in [
            ("", true),
            ("debug", true),
            ("viewer=trace,info", true),
            ("debug,ort=info", false),
            ("debug,ort::logging=info", false),
            ("error", false),
            ("viewer=debug", false),
        ] {
            assert_eq!(of(value).0.contains("ort=warn"), bounded, "{value}");
        }
    }
}
