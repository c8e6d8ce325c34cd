//! The text of a configuration file, made from the flags.

use clap::{Arg, Command};

use super::{is_switch, settings, variable};

/// Returns the text of a configuration file that changes nothing: each key with its help, commented out at its default.
pub fn template(command: &Command) -> String {
    let program = command.get_name();
    let mut text = format!(
        "# Configuration of {program}: ~/.config/sightline/{program}.toml, or where a user has none, and for a service,\n\
         # /etc/sightline/{program}.toml. Take the # from a line to change it.\n\
         # A flag and an environment variable ({}) both go before this file.\n",
        variable(program, "KEY").to_string_lossy()
    );
    for arg in settings(command) {
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        text += "\n";
        for line in help.lines() {
            text += &format!("# {}\n", line.trim());
        }
        let key = arg.get_long().unwrap_or_default();
        text += &match arg.get_default_values().first() {
            Some(value) => format!("#{key} = {}\n", toml_value(arg, &value.to_string_lossy())),
            None => {
                let name = arg.get_value_names().unwrap_or_default().join("");
                format!("#{key} = {}   # no default\n", toml_value(arg, &name))
            }
        };
    }
    text
}

/// Returns a value in TOML's notation: bare if it is a number or a boolean, else quoted.
fn toml_value(arg: &Arg, value: &str) -> String {
    let bare = value.parse::<f64>().is_ok() || (is_switch(arg) && value.parse::<bool>().is_ok());
    if bare {
        value.to_owned()
    } else {
        format!("{value:?}")
    }
}
