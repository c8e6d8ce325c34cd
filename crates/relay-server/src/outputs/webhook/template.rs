//! `--webhook-template FILE`: the body that a service wants. Pure.
//!
//! `{{label}}` and the like are replaced by the event's fields. If the file is JSON, the values are escaped for a JSON
//! string. A first line `{{only start camera}}` names the types of messages that are sent; without it all are but updates.

use protocol::event::EventMessage;

use crate::outputs::fields;

/// Largest template in bytes.
pub const MAX_TEMPLATE: usize = 64 << 10;
/// Most characters of a mistake that its error quotes.
const MAX_QUOTED: usize = 40;
/// Types of messages.
const TYPES: [&str; 4] = ["start", "update", "end", "camera"];

/// A template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// Types of the messages that are sent; empty for all but updates.
    only: Vec<&'static str>,
    pieces: Vec<Piece>,
    json: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Field(&'static str),
}

/// Why a text is not a [`Template`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTemplate {
    /// Braces that do not close.
    #[error("{{{{ without }}}} in line {0}")]
    Unclosed(usize),
    /// A field that no event has.
    #[error("`{{{{{name}}}}}` in line {line} is not a field of events, which are {}", fields::NAMES.join(", "))]
    Field {
        /// What stands there.
        name: String,
        /// Its line.
        line: usize,
    },
    /// A type that no message has.
    #[error(
        "`{0}` in the first line is not a type of messages, which are start, update, end and camera"
    )]
    Type(String),
    /// A text that begins like JSON, and cannot be parsed as JSON once the fields are filled in.
    #[error(
        "it begins like JSON and cannot be parsed once the fields are filled in: {0}; a field stands between quotes"
    )]
    Json(String),
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// [`BadTemplate`].
    pub fn parse(text: &str) -> Result<Self, BadTemplate> {
        let (only, body, first_line) = match text.strip_prefix("{{only ") {
            None => (Vec::new(), text, 1),
            Some(rest) => {
                let (types, body) = rest.split_once("}}").ok_or(BadTemplate::Unclosed(1))?;
                let types: Result<_, _> = types.split_whitespace().map(known_type).collect();
                (types?, body.trim_start_matches(['\r', '\n']), 2)
            }
        };
        let template = Self {
            only,
            pieces: pieces(body, first_line)?,
            json: begins_like_json(body),
        };
        template.check()?;
        Ok(template)
    }

    /// Returns whether a message is sent.
    pub fn takes(&self, message: &EventMessage) -> bool {
        match self.only.is_empty() {
            true => fields::is_news(message),
            false => self.only.contains(&message.kind()),
        }
    }

    /// Returns the type of the body for `Content-Type`.
    pub fn content_type(&self) -> &'static str {
        match self.json {
            true => "application/json",
            false => "text/plain; charset=utf-8",
        }
    }

    /// Returns the body of a message.
    pub fn fill(&self, message: &EventMessage) -> String {
        self.fill_by(|name| fields::text(message, name).unwrap_or_default())
    }

    fn fill_by(&self, value: impl Fn(&str) -> String) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Field(name) if self.json => json_escaped(&value(name)),
            Piece::Field(name) => value(name).replace(|c: char| c.is_control(), " "),
        };
        self.pieces.iter().map(piece).collect()
    }

    /// Fills in values that need escaping, to find braces and quotes that do not match.
    fn check(&self) -> Result<(), BadTemplate> {
        if !self.json {
            return Ok(());
        }
        let filled = self.fill_by(|_| "x\"\\".to_owned());
        let parsed = serde_json::from_str::<serde_json::Value>(&filled);
        parsed
            .map(drop)
            .map_err(|why| BadTemplate::Json(why.to_string()))
    }
}

fn begins_like_json(body: &str) -> bool {
    let body = body.trim_start();
    body.starts_with('[') || body.starts_with('{') && !body.starts_with("{{")
}

fn known_type(name: &str) -> Result<&'static str, BadTemplate> {
    let known = TYPES.into_iter().find(|known| *known == name);
    known.ok_or_else(|| BadTemplate::Type(name.chars().take(MAX_QUOTED).collect()))
}

fn pieces(body: &str, first_line: usize) -> Result<Vec<Piece>, BadTemplate> {
    let mut pieces = Vec::new();
    let mut rest = body;
    while let Some((text, field)) = rest.split_once("{{") {
        let before = &body[..body.len() - field.len()];
        let line = first_line + before.matches('\n').count();
        let (name, after) = field.split_once("}}").ok_or(BadTemplate::Unclosed(line))?;
        let name = name.trim();
        let known = fields::NAMES.into_iter().find(|known| *known == name);
        let known = known.ok_or_else(|| BadTemplate::Field {
            name: name.chars().take(MAX_QUOTED).collect(),
            line,
        })?;
        pieces.push(Piece::Text(text.to_owned()));
        pieces.push(Piece::Field(known));
        rest = after;
    }
    pieces.push(Piece::Text(rest.to_owned()));
    Ok(pieces)
}

/// Returns a text as it stands between the quotes of a JSON string.
fn json_escaped(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

#[cfg(test)]
mod tests {
    use protocol::event::Phase;
    use serde_json::Value;

    use super::*;
    use crate::outputs::fields::tests::{offline, start};

    #[test]
    fn fields_are_filled_in_and_escaped_for_json() {
        let text = r#"{"text": "{{label}} at {{ camera }}, {{score}} %", "n": 1}"#;
        let template = Template::parse(text).unwrap();
        let body = template.fill(&start("yard", "person"));
        assert_eq!(body, r#"{"text": "person at yard, 87 %", "n": 1}"#);
        assert_eq!(template.content_type(), "application/json");
        let hostile = "a\"},{\\";
        let body = template.fill(&start("yard", hostile));
        let parsed: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(parsed["text"], format!("{hostile} at yard, 87 %"));
    }

    #[test]
    fn another_text_is_plain_and_a_field_in_it_is_one_line() {
        let template = Template::parse("{{label}} in {{zones}}\n").unwrap();
        let EventMessage::Object(mut event) = start("yard", "person") else {
            panic!("an object");
        };
        event.label = "a\nb".to_owned();
        let body = template.fill(&EventMessage::Object(event));
        assert_eq!(body, "a b in drive, lawn\n");
        assert!(template.content_type().starts_with("text/plain"));
    }

    #[test]
    fn the_first_line_names_the_messages_that_are_sent() {
        let takes = |text: &str| {
            let template = Template::parse(text).unwrap();
            let EventMessage::Object(mut event) = start("yard", "person") else {
                panic!("an object");
            };
            event.phase = Phase::Update;
            let update = EventMessage::Object(event);
            [start("yard", "person"), update, offline("yard")]
                .map(|message| template.takes(&message))
        };
        assert_eq!(takes("{{label}}"), [true, false, true]);
        assert_eq!(takes("{{only start}}\n{{label}}"), [true, false, false]);
        assert_eq!(
            takes("{{only update camera}}\n{{label}}"),
            [false, true, true]
        );
        let body = Template::parse("{{only start}}\n{\"a\":1}").unwrap();
        assert_eq!(body.fill(&offline("yard")), "{\"a\":1}");
    }

    #[test]
    fn a_mistake_is_named_with_its_line() {
        for (text, wanted) in [
            ("{\n\"a\": \"{{colour}}\"}", "`{{colour}}` in line 2"),
            ("{{only start}}\n{{label", "in line 2"),
            ("{{only start", "in line 1"),
            ("{{only begin}}\nx", "`begin`"),
            ("{\"a\": {{label}}}", "between quotes"),
            ("{\"a\": \"{{label}}\"", "cannot be parsed"),
        ] {
            let why = Template::parse(text).unwrap_err().to_string();
            assert!(why.contains(wanted), "{text}: {why}");
        }
    }

    #[test]
    fn the_examples_are_templates_of_the_services_that_they_are_for() {
        let parse = |text: &str| {
            let template = Template::parse(text).unwrap();
            assert!(template.takes(&start("yard", "person")));
            let body = template.fill(&start("yard", "person"));
            serde_json::from_str::<Value>(&body).unwrap()
        };
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let ntfy = parse(include_str!("../../../../../config/templates/ntfy.json"));
        assert!(ntfy["topic"].is_string() && text(&ntfy["title"]).contains("person"));
        assert!(text(&ntfy["attach"]).ends_with("snapshot.jpg"));
        let discord = parse(include_str!("../../../../../config/templates/discord.json"));
        assert!(text(&discord["content"]).contains("yard"));
        assert!(text(&discord["embeds"][0]["image"]["url"]).ends_with("snapshot.jpg"));
    }
}
