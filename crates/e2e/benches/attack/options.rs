//! The command line; `scripts/bench --help` explains it.

use std::time::Duration;

use e2e::attack::Attack;
use testkit::cells::number;

/// The options of a run.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    only: Vec<String>,
    pub(crate) seconds: Duration,
}

impl Options {
    /// # Errors
    /// A sentence on the first wrong word.
    pub(crate) fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            only: Vec::new(),
            seconds: Duration::from_secs(10),
        };
        while let Some(flag) = args.next() {
            let mut value = || args.next().ok_or(format!("{flag} needs a value"));
            match flag.as_str() {
                "--only" => options.only = value()?.split(',').map(str::to_owned).collect(),
                "--seconds" => options.seconds = Duration::from_secs(number(&flag, &value()?)?),
                _ => return Err(format!("{flag} is not known")),
            }
        }
        let known = |name: &str| Attack::ALL.iter().any(|attack| attack.name() == name);
        match options.only.iter().find(|name| !known(name)) {
            Some(name) => Err(format!("no attack is called {name}: {}", names())),
            None => Ok(options),
        }
    }

    /// Returns the attacks to run.
    pub(crate) fn attacks(&self) -> impl Iterator<Item = Attack> {
        let wanted =
            |attack: &Attack| self.only.is_empty() || self.only.iter().any(|n| n == attack.name());
        Attack::ALL.into_iter().filter(wanted)
    }
}

fn names() -> String {
    Attack::ALL.map(Attack::name).join(", ")
}
