//! `--mqtt URL`: the broker, how it is reached, and the topics' prefix. Pure.

use std::fmt;
use std::str::FromStr;

use reqwest::Url;

/// The prefix without one in the URL.
pub(super) const DEFAULT_PREFIX: &str = "sightline";
/// Longest prefix in bytes: what is left of MQTT's 65 535 bytes is more than the longest names need.
const MAX_PREFIX: usize = 256;

/// The value of `--mqtt`. A value that cannot be used is kept too, so that the error, unlike the command line's own, does
/// not show a password in it.
#[derive(Clone, PartialEq, Eq)]
pub struct BrokerUrl(Result<Broker, BadBroker>);

/// A broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    /// Name or address; an IPv6 address without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Whether the connection is encrypted, and the broker's certificate checked.
    pub tls: bool,
    /// The user, with the password from elsewhere.
    pub user: Option<String>,
    /// First levels of all topics.
    pub prefix: Prefix,
}

/// First levels of all topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefix(String);

/// Why a text is not a [`Broker`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadBroker {
    /// No URL, or another scheme.
    #[error(
        "--mqtt is a URL as in mqtt://user@broker.example:1883/sightline, or mqtts:// with TLS"
    )]
    Form,
    /// A password.
    #[error(
        "--mqtt has a password in it, which all users of this machine can see: put it alone into a file for --mqtt-password-file"
    )]
    Password,
    /// Something behind the path.
    #[error("--mqtt takes no ? or # behind the topics' prefix")]
    Extra,
    /// A path that cannot begin a topic.
    #[error(
        "the path of --mqtt is the topics' prefix: up to 256 bytes, as in home/cameras, without +, # and empty levels, and not beginning with $"
    )]
    Prefix,
}

impl BrokerUrl {
    /// Returns the broker.
    ///
    /// # Errors
    /// [`BadBroker`].
    pub fn broker(&self) -> Result<&Broker, BadBroker> {
        self.0.as_ref().map_err(|why| *why)
    }
}

impl FromStr for BrokerUrl {
    type Err = std::convert::Infallible;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Ok(Self(parse(s)))
    }
}

/// Hides what could not be parsed.
impl fmt::Debug for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl Prefix {
    /// Returns the prefix as text, without a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Prefix {
    type Err = BadBroker;

    fn from_str(s: &str) -> Result<Self, BadBroker> {
        let level = |level: &str| {
            !level.is_empty() && !level.contains(['+', '#']) && !level.chars().any(char::is_control)
        };
        let good = s.len() <= MAX_PREFIX && !s.starts_with('$') && s.split('/').all(level);
        good.then(|| Self(s.to_owned())).ok_or(BadBroker::Prefix)
    }
}

fn parse(s: &str) -> Result<Broker, BadBroker> {
    // Before the rest is judged: an error of the rest would make the user repeat the line with the password.
    let url = Url::parse(s).map_err(|_| BadBroker::Form)?;
    let tls = match url.scheme() {
        "mqtt" => false,
        "mqtts" => true,
        _ => return Err(BadBroker::Form),
    };
    if url.password().is_some() {
        return Err(BadBroker::Password);
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(BadBroker::Extra);
    }
    let host = url
        .host_str()
        .filter(|host| !host.is_empty())
        .ok_or(BadBroker::Form)?;
    let path = decode(url.path().trim_start_matches('/').trim_end_matches('/'))
        .ok_or(BadBroker::Prefix)?;
    let prefix = match path.as_str() {
        "" => DEFAULT_PREFIX,
        path => path,
    };
    let user = decode(url.username()).ok_or(BadBroker::Form)?;
    Ok(Broker {
        host: decode(host.trim_matches(['[', ']'])).ok_or(BadBroker::Form)?,
        port: url.port().unwrap_or(if tls { 8883 } else { 1883 }),
        tls,
        user: (!user.is_empty()).then_some(user),
        prefix: prefix.parse()?,
    })
}

fn decode(s: &str) -> Option<String> {
    let decoded = percent_encoding::percent_decode_str(s).decode_utf8();
    decoded.ok().map(|text| text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broker(url: &str) -> Result<Broker, BadBroker> {
        url.parse::<BrokerUrl>().unwrap().0
    }

    #[test]
    fn a_url_names_broker_user_and_prefix() {
        let plain = broker("mqtt://broker.example").unwrap();
        assert_eq!(
            (plain.host.as_str(), plain.port, plain.tls),
            ("broker.example", 1883, false)
        );
        assert_eq!((plain.user, plain.prefix.as_str()), (None, "sightline"));
        let full = broker("mqtts://u%40home@[::1]:9/home/my%20cams/").unwrap();
        assert_eq!((full.to_string().as_str(), full.tls), ("[::1]:9", true));
        assert_eq!(full.user.as_deref(), Some("u@home"));
        assert_eq!(full.prefix.as_str(), "home/my cams");
        assert_eq!(broker("mqtts://b/").unwrap().port, 8883);
    }

    #[test]
    fn a_mistake_is_named_and_no_password_is_shown() {
        for (url, wanted) in [
            ("broker.example", BadBroker::Form),
            ("http://broker.example", BadBroker::Form),
            ("mqtt:///x", BadBroker::Form),
            ("mqtt://u:secret@b", BadBroker::Password),
            ("mqtt://b/x?y", BadBroker::Extra),
            ("mqtt://b/x#y", BadBroker::Extra),
            ("mqtt://b/a//b", BadBroker::Prefix),
            ("mqtt://b/a+", BadBroker::Prefix),
            ("mqtt://b/%23", BadBroker::Prefix),
            ("mqtt://b/$SYS", BadBroker::Prefix),
            ("mqtt://b/%00", BadBroker::Prefix),
        ] {
            assert_eq!(broker(url), Err(wanted), "{url}");
        }
        let shown = format!("{:?}", "mqtt:/u:secret@b".parse::<BrokerUrl>().unwrap());
        assert!(!shown.contains("secret"), "{shown}");
        assert!(
            BadBroker::Password
                .to_string()
                .contains("--mqtt-password-file")
        );
    }
}
