//! The configuration file: its keys and values become defaults of the command line.

use std::fs;
use std::path::Path;

use clap::error::ErrorKind;
use clap::{Arg, Command};

use super::secrets::without_secret;
use super::{new_name, settings, tables, with_default};

/// Returns the command with a file's values as its defaults.
pub(super) fn with_file(mut command: Command, path: &Path) -> Result<Command, clap::Error> {
    let origin = path.display().to_string();
    let values = read_file(&command, path)
        .map_err(|why| command.error(ErrorKind::ValueValidation, format!("{origin}: {why}")))?;
    for (key, value) in values {
        command = with_default(command, &key, &value, &origin)?;
    }
    Ok(command)
}

/// Reads a file's keys and values; the error is the rest of a sentence that begins with the file's name.
fn read_file(command: &Command, path: &Path) -> Result<Vec<(String, String)>, String> {
    let text = fs::read_to_string(path)
        .map_err(|err| format!("the configuration file cannot be read: {err}"))?;
    let table: toml::Table = text.parse().map_err(|err| syntax_error(&text, &err))?;
    let known: Vec<&str> = settings(command).filter_map(Arg::get_long).collect();
    let mut values = Vec::new();
    for (key, value) in table {
        if value.is_table() && tables::is_table(command.get_name(), &key) {
            continue;
        }
        if let Some(new) = new_name(command, &key) {
            return Err(format!("the key '{key}' is now '{new}'"));
        }
        if !known.contains(&key.as_str()) {
            return Err(format!(
                "unknown key '{}'; the keys are {}",
                without_secret(&key),
                known.join(", ")
            ));
        }
        let value = flag_text(&value)
            .ok_or_else(|| format!("'{key}' takes a single value or a list of them"))?;
        values.push((key, value));
    }
    Ok(values)
}

/// Returns where the TOML is broken, and why. The line itself, which the library's own text repeats, may have a password.
fn syntax_error(text: &str, err: &toml::de::Error) -> String {
    let why = err.message();
    let Some(before) = err.span().and_then(|at| text.get(..at.start)) else {
        return format!("not valid TOML: {why}");
    };
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    format!("not valid TOML at line {line}, column {column}: {why}")
}

/// Returns a TOML value as the text of a flag's value.
fn flag_text(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(s) => Some(s.clone()),
        toml::Value::Integer(n) => Some(n.to_string()),
        toml::Value::Float(x) => Some(x.to_string()),
        toml::Value::Boolean(b) => Some(b.to_string()),
        toml::Value::Array(list) => Some(
            list.iter()
                .map(flag_text)
                .collect::<Option<Vec<_>>>()?
                .join(","),
        ),
        toml::Value::Datetime(_) | toml::Value::Table(_) => None,
    }
}
