//! What the query of a URL asks for. A parameter or a value that the path does not know is an error that names what is
//! allowed: a misspelt `width` would else be answered with a picture in full. Pure.

use axum::extract::Query;
use axum::http::Uri;
use protocol::text::printable;

use crate::rendition::Rendition;

/// Widths that a picture may be requested at.
const WIDTHS: std::ops::RangeInclusive<u16> = 16..=4096;
/// JPEG qualities that a picture may be requested at.
const QUALITIES: std::ops::RangeInclusive<u16> = 1..=100;
/// Most characters of a client's text in an answer.
pub(super) const MAX_SHOWN: usize = 40;
/// Names that OctoPrint, Mainsail, Fluidd, jQuery and the pages of mjpg-streamer put into a URL so that no cache answers it;
/// a bare number is another.
const CACHE_BUSTERS: [&str; 7] = ["_", "n", "t", "ts", "cacheBust", "bypassCache", "nocache"];

/// Which parameters a path takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Path {
    /// `/`: the page, or what `action` says.
    Root,
    /// A stream of MJPEG.
    Stream,
    /// One picture.
    Snapshot,
    /// Boxes as data, or the WebSocket.
    Data,
}

/// What a query asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// What `/` stands for, if not for the page.
    pub(super) action: Option<Action>,
    /// Whether boxes are drawn into the picture.
    pub(super) boxes: bool,
    pub(super) rendition: Rendition,
}

/// `action`, as mjpg-streamer has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Stream,
    Snapshot,
}

/// What is wrong with a query.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum QueryError {
    #[error("`{name}` is not a parameter of this path; it takes {allowed}")]
    Unknown { name: String, allowed: String },
    #[error("`{value}` is not a value of `{name}`, which is {allowed}")]
    Value {
        name: &'static str,
        value: String,
        allowed: &'static str,
    },
    #[error("`{name}` is there twice")]
    Twice { name: &'static str },
    #[error("the query of this URL is not a list of NAME=VALUE")]
    Malformed,
}

/// One parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Parameter {
    Action,
    Boxes,
    Width,
    Quality,
    /// For the page's script.
    Camera,
    /// For the page's script.
    Bare,
    /// Checked before the path is routed.
    Token,
}

impl Parameter {
    fn name(self) -> &'static str {
        match self {
            Self::Action => "action",
            Self::Boxes => "boxes",
            Self::Width => "width",
            Self::Quality => "quality",
            Self::Camera => "camera",
            Self::Bare => "bare",
            Self::Token => "token",
        }
    }

    /// Returns the values that it takes, in words.
    fn values(self) -> &'static str {
        match self {
            Self::Action => "stream or snapshot",
            Self::Boxes | Self::Bare => "1 or 0",
            Self::Width => "a number of pixels from 16 to 4096",
            Self::Quality => "a number from 1 to 100",
            Self::Camera => "a camera's name",
            Self::Token => "the token of a ticket",
        }
    }
}

impl Path {
    /// Returns the parameters that the path takes.
    fn parameters(self) -> &'static [Parameter] {
        use Parameter::{Action, Bare, Boxes, Camera, Quality, Token, Width};
        match self {
            Self::Root => &[Action, Camera, Bare, Token],
            Self::Stream => &[Boxes, Token],
            Self::Snapshot => &[Boxes, Width, Quality, Token],
            Self::Data => &[Token],
        }
    }
}

/// Returns what a URL asks for at a path.
///
/// # Errors
/// If a parameter or a value is not one that the path takes.
pub(super) fn parse(uri: &Uri, path: Path) -> Result<Asked, QueryError> {
    let pairs = Query::<Vec<(String, String)>>::try_from_uri(uri);
    let Query(pairs) = pairs.map_err(|_| QueryError::Malformed)?;
    let is_action = |(name, _): &&(String, String)| name == Parameter::Action.name();
    let action = match pairs.iter().find(is_action) {
        Some((_, value)) if path == Path::Root => Some(action(value)?),
        _ => None,
    };
    let allowed = match action {
        None => path.parameters().to_vec(),
        Some(Action::Stream) => [&[Parameter::Action], Path::Stream.parameters()].concat(),
        Some(Action::Snapshot) => [&[Parameter::Action], Path::Snapshot.parameters()].concat(),
    };
    let mut asked = Asked {
        action,
        ..Asked::default()
    };
    let mut seen = Vec::new();
    for (name, value) in pairs.iter().filter(|(name, _)| !is_cache_buster(name)) {
        let parameter = allowed.iter().find(|parameter| parameter.name() == name);
        let &parameter = parameter.ok_or_else(|| unknown(name, &allowed))?;
        if seen.contains(&parameter) {
            let name = parameter.name();
            return Err(QueryError::Twice { name });
        }
        seen.push(parameter);
        asked.set(parameter, value)?;
    }
    Ok(asked)
}

/// Returns whether a URL of `/` asks for the page, and not for a picture: so also if it has a mistake in it.
pub(super) fn asks_for_page(uri: &Uri) -> bool {
    parse(uri, Path::Root).map_or(true, |asked| asked.action.is_none())
}

impl Asked {
    fn set(&mut self, parameter: Parameter, value: &str) -> Result<(), QueryError> {
        let wrong = || wrong_value(parameter, value);
        match parameter {
            Parameter::Boxes => self.boxes = switch(value).ok_or_else(wrong)?,
            Parameter::Width => {
                let width = number(value).filter(|width| WIDTHS.contains(width));
                self.rendition.width = Some(width.ok_or_else(wrong)?);
            }
            Parameter::Quality => {
                let quality = number(value).filter(|quality| QUALITIES.contains(quality));
                let quality = quality.and_then(|quality| u8::try_from(quality).ok());
                self.rendition.quality = Some(quality.ok_or_else(wrong)?);
            }
            Parameter::Bare => drop(switch(value).ok_or_else(wrong)?),
            Parameter::Action | Parameter::Camera | Parameter::Token => {}
        }
        Ok(())
    }
}

fn action(value: &str) -> Result<Action, QueryError> {
    match value {
        "stream" => Ok(Action::Stream),
        "snapshot" => Ok(Action::Snapshot),
        _ => Err(wrong_value(Parameter::Action, value)),
    }
}

/// Returns whether a switch is on. A name without a value switches on.
fn switch(value: &str) -> Option<bool> {
    match value {
        "" | "1" | "on" | "true" => Some(true),
        "0" | "off" | "false" => Some(false),
        _ => None,
    }
}

fn number(value: &str) -> Option<u16> {
    // `parse` takes a sign too.
    let digits = value.bytes().all(|digit| digit.is_ascii_digit());
    value.parse().ok().filter(|_| digits)
}

pub(super) fn is_cache_buster(name: &str) -> bool {
    let number = !name.is_empty() && name.bytes().all(|digit| digit.is_ascii_digit());
    number || CACHE_BUSTERS.contains(&name)
}

fn unknown(name: &str, allowed: &[Parameter]) -> QueryError {
    let allowed: Vec<_> = allowed
        .iter()
        .map(|parameter| format!("{} ({})", parameter.name(), parameter.values()))
        .collect();
    QueryError::Unknown {
        name: printable(name, MAX_SHOWN),
        allowed: allowed.join(", "),
    }
}

fn wrong_value(parameter: Parameter, value: &str) -> QueryError {
    QueryError::Value {
        name: parameter.name(),
        value: printable(value, MAX_SHOWN),
        allowed: parameter.values(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(path: Path, query: &str) -> Result<Asked, String> {
        let uri = format!("/path?{query}").parse().unwrap();
        super::parse(&uri, path).map_err(|error| error.to_string())
    }

    fn picture(boxes: bool, width: Option<u16>, quality: Option<u8>) -> Asked {
        Asked {
            action: None,
            boxes,
            rendition: Rendition { width, quality },
        }
    }

    #[test]
    fn a_path_takes_its_own_parameters_and_the_token() {
        let plain = picture(false, None, None);
        let boxes = picture(true, None, None);
        for (path, query, asked) in [
            (Path::Root, "", plain),
            (Path::Root, "camera=front%20yard&bare=1&token=a", plain),
            (Path::Root, "bare", plain),
            (Path::Stream, "boxes=1", boxes),
            (Path::Stream, "boxes", boxes),
            (Path::Stream, "boxes=on&token=a", boxes),
            (Path::Stream, "boxes=0", plain),
            (Path::Snapshot, "boxes=true", boxes),
            (Path::Snapshot, "boxes=false", plain),
            (Path::Snapshot, "width=16", picture(false, Some(16), None)),
            (
                Path::Snapshot,
                "width=4096&quality=100&boxes=off",
                picture(false, Some(4096), Some(100)),
            ),
            (
                Path::Snapshot,
                "boxes=1&quality=1&width=320",
                picture(true, Some(320), Some(1)),
            ),
            (Path::Data, "", plain),
            (Path::Data, "token=a", plain),
        ] {
            assert_eq!(parse(path, query), Ok(asked), "{path:?} {query}");
        }
        let asked = parse(Path::Root, "action=snapshot&width=320&boxes=1").unwrap();
        let with_action = Asked {
            action: Some(Action::Snapshot),
            ..picture(true, Some(320), None)
        };
        assert_eq!(asked, with_action);
        let asked = parse(Path::Root, "boxes=1&action=stream").unwrap();
        assert_eq!((asked.action, asked.boxes), (Some(Action::Stream), true));
    }

    #[test]
    fn what_a_path_does_not_take_is_named_with_what_it_takes() {
        for (path, query, words) in [
            (
                Path::Snapshot,
                "widht=320",
                "`widht` is not a parameter of this path; it takes boxes (1 or 0), width (a number of pixels from 16 to 4096), quality (a number from 1 to 100), token",
            ),
            (
                Path::Snapshot,
                "width=15",
                "`15` is not a value of `width`, which is a number of pixels from 16 to 4096",
            ),
            (Path::Snapshot, "width=4097", "`4097`"),
            (Path::Snapshot, "width=70000", "`70000`"),
            (Path::Snapshot, "width=%2B320", "`+320`"),
            (Path::Snapshot, "width=", "`` is not a value of `width`"),
            (Path::Snapshot, "width=320px", "`320px`"),
            (Path::Snapshot, "quality=0", "from 1 to 100"),
            (Path::Snapshot, "quality=101", "from 1 to 100"),
            (
                Path::Snapshot,
                "boxes=2",
                "`2` is not a value of `boxes`, which is 1 or 0",
            ),
            (
                Path::Snapshot,
                "width=320&width=640",
                "`width` is there twice",
            ),
            (
                Path::Snapshot,
                "action=stream",
                "`action` is not a parameter",
            ),
            (
                Path::Stream,
                "width=320",
                "`width` is not a parameter of this path; it takes boxes (1 or 0), token",
            ),
            (Path::Stream, "camera=yard", "`camera` is not a parameter"),
            (
                Path::Data,
                "boxes=1",
                "`boxes` is not a parameter of this path; it takes token",
            ),
            (
                Path::Root,
                "action=reboot",
                "`reboot` is not a value of `action`, which is stream or snapshot",
            ),
            (
                Path::Root,
                "action=stream&width=320",
                "`width` is not a parameter of this path; it takes action (stream or snapshot), boxes",
            ),
            (
                Path::Root,
                "action=stream&action=snapshot",
                "`action` is there twice",
            ),
            (
                Path::Root,
                "boxes=1",
                "it takes action (stream or snapshot), camera (a camera's name), bare (1 or 0), token",
            ),
            (Path::Root, "bare=yes", "`yes` is not a value of `bare`"),
            (Path::Stream, "%1b[2J=1", "`\\u{1b}[2J`"),
        ] {
            let error = parse(path, query).unwrap_err();
            assert!(error.contains(words), "{path:?} {query}: {error}");
        }
        let long = parse(Path::Data, &"x".repeat(5000)).unwrap_err();
        assert!(long.len() < 200, "{long}");
    }

    #[test]
    fn what_other_software_adds_against_caches_is_ignored() {
        for (path, query) in [
            (Path::Stream, "1732841234567"),
            (Path::Root, "action=stream&1732841234567"),
            (Path::Root, "action=snapshot&n=5"),
            (Path::Snapshot, "_=5&boxes=0"),
            (Path::Snapshot, "bypassCache=5"),
            (Path::Stream, "cacheBust=5&cacheBust=6"),
            (Path::Data, "t=5"),
        ] {
            assert!(parse(path, query).is_ok(), "{path:?} {query}");
        }
    }
}
