//! What the query of `/api/events` asks for. As for the other paths, a parameter or a value that is not known is an error that
//! names what is allowed. Pure.

use axum::extract::Query;
use axum::http::Uri;
use protocol::text::printable;

use super::query::{MAX_SHOWN, QueryError, is_cache_buster};
use crate::events::EventFilter;

/// The parameters, with their values in words.
const PARAMETERS: [(&str, &str); 6] = [
    ("camera", "a camera's name"),
    ("label", "a class's name"),
    ("zone", "a zone's name"),
    ("before", "an event's id, as in 1763820000.123-a1b2"),
    ("limit", "a number from 1 to 200"),
    ("token", "the token of a ticket"),
];

/// Returns which events a URL asks for.
///
/// # Errors
/// If a parameter or a value is not one that the path takes.
pub(super) fn parse(uri: &Uri) -> Result<EventFilter, QueryError> {
    let pairs = Query::<Vec<(String, String)>>::try_from_uri(uri);
    let Query(pairs) = pairs.map_err(|_| QueryError::Malformed)?;
    let mut filter = EventFilter::default();
    let mut seen = Vec::new();
    for (name, value) in pairs.into_iter().filter(|(name, _)| !is_cache_buster(name)) {
        let known = PARAMETERS.iter().find(|(known, _)| *known == name);
        let &(name, allowed) = known.ok_or_else(|| unknown(&name))?;
        if seen.contains(&name) {
            return Err(QueryError::Twice { name });
        }
        seen.push(name);
        let wrong = || QueryError::Value {
            name,
            value: printable(&value, MAX_SHOWN),
            allowed,
        };
        match name {
            "camera" => filter.camera = Some(value),
            "label" => filter.label = Some(value),
            "zone" => filter.zone = Some(value),
            "before" => filter.before = Some(value.parse().map_err(|_| wrong())?),
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=200).contains(limit));
                filter.limit = limit.ok_or_else(wrong)?;
            }
            _ => {}
        }
    }
    Ok(filter)
}

fn unknown(name: &str) -> QueryError {
    let allowed = PARAMETERS.map(|(name, values)| format!("{name} ({values})"));
    QueryError::Unknown {
        name: printable(name, MAX_SHOWN),
        allowed: allowed.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(query: &str) -> Result<EventFilter, String> {
        let uri = format!("/api/events?{query}").parse().unwrap();
        parse(&uri).map_err(|err| err.to_string())
    }

    #[test]
    fn each_parameter_chooses() {
        let filter =
            parsed("camera=Front%20door&label=person&zone=drive&before=1.500-00ff&limit=20&_=7");
        let text = |text: &str| Some(text.to_owned());
        let wanted = EventFilter {
            camera: text("Front door"),
            label: text("person"),
            zone: text("drive"),
            before: "1.500-00ff".parse().ok(),
            limit: 20,
        };
        assert_eq!(filter, Ok(wanted));
        assert_eq!(parsed("token=abc"), Ok(EventFilter::default()));
    }

    #[test]
    fn what_is_not_known_is_an_error_with_what_is_allowed() {
        for (query, part) in [
            ("cam=yard", "camera (a camera's name)"),
            ("before=yesterday", "1763820000.123-a1b2"),
            ("limit=0", "1 to 200"),
            ("limit=9999", "1 to 200"),
            ("limit=1&limit=2", "twice"),
        ] {
            let why = parsed(query).unwrap_err();
            assert!(why.contains(part), "{why}");
        }
    }
}
