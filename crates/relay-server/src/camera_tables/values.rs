//! Values of the tables, each checked as it is parsed, so that a mistake is named with its line.

use std::time::Duration;

use protocol::every::Every;
use protocol::label::CameraName;
use relay_core::events::{Polygon, Schedule};
use serde::Deserialize;

/// Most parts of one camera's mask.
const MAX_MASKS: usize = 32;
/// Longest time that a table may hold: a week.
const MAX_SECONDS: f64 = 7.0 * 24.0 * 3600.0;

/// A name of a camera or a zone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Name(pub(super) CameraName);

#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(try_from = "f64")]
pub(super) struct Seconds(pub(super) Duration);

#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(try_from = "f64")]
pub(super) struct Score(pub(super) f32);

#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(try_from = "toml::Value")]
pub(super) struct Names(pub(super) Vec<String>);

#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(try_from = "toml::Value")]
pub(super) struct EveryKey(pub(super) Every);

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Armed(pub(super) Schedule);

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "Vec<[f32; 2]>")]
pub(super) struct Corners(pub(super) Polygon);

#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(try_from = "Vec<Corners>")]
pub(super) struct Masks(pub(super) Vec<Polygon>);

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let name = name.parse::<CameraName>();
        name.map(Self).map_err(|err| err.to_string())
    }
}

impl TryFrom<f64> for Seconds {
    type Error = String;

    fn try_from(seconds: f64) -> Result<Self, String> {
        match (0.0..=MAX_SECONDS).contains(&seconds) {
            true => Ok(Self(Duration::from_secs_f64(seconds))),
            false => Err(format!(
                "a time is a number of seconds from 0 to {MAX_SECONDS}"
            )),
        }
    }
}

impl TryFrom<f64> for Score {
    type Error = &'static str;

    fn try_from(score: f64) -> Result<Self, &'static str> {
        match (0.0..=1.0).contains(&score) {
            true => Ok(Self(score as f32)),
            false => Err("a score is a number from 0 to 1"),
        }
    }
}

impl TryFrom<toml::Value> for Names {
    type Error = &'static str;

    fn try_from(value: toml::Value) -> Result<Self, &'static str> {
        let name = |value: &toml::Value| match value {
            toml::Value::String(name) => Some(name.trim().to_owned()),
            toml::Value::Integer(number) => Some(number.to_string()),
            _ => None,
        };
        let names = match &value {
            toml::Value::Array(list) => list.iter().map(name).collect(),
            toml::Value::String(names) => {
                let names = names.split(',').map(|name| name.trim().to_owned());
                Some(names.collect())
            }
            other => name(other).map(|name| vec![name]),
        };
        let whole = |names: &Vec<String>| names.iter().all(|name| !name.is_empty());
        let names = names.filter(whole);
        names
            .map(Self)
            .ok_or("classes are a list of names or numbers, [\"person\", \"dog\"]")
    }
}

impl TryFrom<toml::Value> for EveryKey {
    type Error = String;

    fn try_from(value: toml::Value) -> Result<Self, String> {
        let text = match value {
            toml::Value::String(text) => text,
            other => other.to_string(),
        };
        text.parse()
            .map(Self)
            .map_err(|why| format!("every is {why}"))
    }
}

impl TryFrom<String> for Armed {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let schedule = text.parse::<Schedule>();
        schedule.map(Self).map_err(|err| err.to_string())
    }
}

impl TryFrom<Vec<[f32; 2]>> for Corners {
    type Error = String;

    fn try_from(corners: Vec<[f32; 2]>) -> Result<Self, String> {
        let polygon = Polygon::new(corners);
        polygon.map(Self).map_err(|err| err.to_string())
    }
}

impl TryFrom<Vec<Corners>> for Masks {
    type Error = String;

    fn try_from(masks: Vec<Corners>) -> Result<Self, String> {
        match masks.len() <= MAX_MASKS {
            true => Ok(Self(masks.into_iter().map(|mask| mask.0).collect())),
            false => Err(format!("a mask has at most {MAX_MASKS} polygons")),
        }
    }
}
