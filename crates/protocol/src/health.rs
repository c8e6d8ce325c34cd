//! The state of a sender's machine, as its sender reports it and the relay shows it. Pure.
//!
//! Values out of range are left out as if the machine had none, so that one bad sensor hides none of the others.

use serde::{Deserialize, Serialize};

/// Coldest and hottest temperature that a computer can report, in degrees Celsius.
const TEMPERATURES: std::ops::RangeInclusive<f64> = -100.0..=200.0;
/// Weakest and strongest signal of Wi-Fi, in dBm.
const SIGNALS: std::ops::RangeInclusive<i64> = -120..=0;

/// State of a sender's machine; each value is absent where the machine has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "Wire", into = "Wire")]
pub struct Health {
    /// Temperature of the processor.
    pub temperature: Option<Temperature>,
    /// Whether the processor runs slower than it could, since it is too hot or its supply too weak.
    pub throttled: Option<bool>,
    /// Whether that was so at any time since its start.
    pub throttled_since_boot: Option<bool>,
    /// Whether the supply's voltage is too low.
    pub undervoltage: Option<bool>,
    /// Whether that was so at any time since its start.
    pub undervoltage_since_boot: Option<bool>,
    /// Signal of the Wi-Fi that frames leave by, in dBm.
    pub wifi_dbm: Option<i8>,
    /// Version of the sending program.
    pub version: Option<Version>,
}

/// A temperature, to a tenth of a degree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Temperature {
    tenths: i16,
}

/// A program's version: visible ASCII, of few bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Version {
    bytes: [u8; Self::MAX],
    length: u8,
}

impl Temperature {
    /// Returns a temperature in degrees Celsius; `None` if no computer has it.
    pub fn celsius(degrees: f64) -> Option<Self> {
        TEMPERATURES.contains(&degrees).then(|| Self {
            tenths: (degrees * 10.0).round() as i16,
        })
    }

    /// Returns it in degrees Celsius.
    pub fn degrees(self) -> f64 {
        f64::from(self.tenths) / 10.0
    }
}

impl Version {
    /// Length of the longest version in bytes: that of a release and a commit.
    pub const MAX: usize = 32;

    /// Returns a text as a version; `None` if it is empty, too long or has other characters than visible ASCII.
    pub fn new(text: &str) -> Option<Self> {
        let good = text.len() <= Self::MAX && text.bytes().all(|byte| byte.is_ascii_graphic());
        let length = u8::try_from(text.len()).ok();
        let length = length.filter(|length| good && *length > 0)?;
        let mut bytes = [0; Self::MAX];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Some(Self { bytes, length })
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        let text = self.bytes.get(..self.length.into());
        text.and_then(|text| std::str::from_utf8(text).ok())
            .unwrap_or_default()
    }
}

impl std::fmt::Debug for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_str().fmt(f)
    }
}

impl Health {
    /// Returns whether nothing is known.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The keys and values of JSON, as they come.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Wire {
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature_c: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    throttled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    throttled_since_boot: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    undervoltage: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    undervoltage_since_boot: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wifi_dbm: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
}

impl From<Wire> for Health {
    fn from(wire: Wire) -> Self {
        let signal = wire.wifi_dbm.filter(|dbm| SIGNALS.contains(dbm));
        Self {
            temperature: wire.temperature_c.and_then(Temperature::celsius),
            throttled: wire.throttled,
            throttled_since_boot: wire.throttled_since_boot,
            undervoltage: wire.undervoltage,
            undervoltage_since_boot: wire.undervoltage_since_boot,
            wifi_dbm: signal.and_then(|dbm| i8::try_from(dbm).ok()),
            version: wire.version.as_deref().and_then(Version::new),
        }
    }
}

impl From<Health> for Wire {
    fn from(health: Health) -> Self {
        Self {
            temperature_c: health.temperature.map(Temperature::degrees),
            throttled: health.throttled,
            throttled_since_boot: health.throttled_since_boot,
            undervoltage: health.undervoltage,
            undervoltage_since_boot: health.undervoltage_since_boot,
            wifi_dbm: health.wifi_dbm.map(i64::from),
            version: health.version.map(|version| version.as_str().to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(json: &str) -> Health {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn it_is_written_in_degrees_and_dbm_and_what_is_not_there_is_not_written() {
        let health = Health {
            temperature: Temperature::celsius(52.349),
            throttled: Some(false),
            undervoltage: Some(true),
            wifi_dbm: Some(-61),
            version: Version::new("0.2.0"),
            ..Health::default()
        };
        let json = r#"{"temperature_c":52.3,"throttled":false,"undervoltage":true,"wifi_dbm":-61,"version":"0.2.0"}"#;
        assert_eq!(serde_json::to_string(&health).unwrap(), json);
        assert_eq!(parse(json), health);
        assert_eq!(serde_json::to_string(&Health::default()).unwrap(), "{}");
    }

    #[test]
    fn a_value_out_of_range_is_left_out_and_hides_none_of_the_others() {
        for bad in [
            r#""temperature_c":200.1"#,
            r#""temperature_c":-1e300"#,
            r#""wifi_dbm":1"#,
            r#""wifi_dbm":-121"#,
            r#""wifi_dbm":-9223372036854775808"#,
            r#""version":"""#,
            r#""version":"1 2""#,
            r#""version":"\u001b[2J""#,
            r#""version":"\u00e9""#,
            r#""version":"123456789012345678901234567890123""#,
        ] {
            let health = parse(&format!(r#"{{"throttled":true,{bad}}}"#));
            let rest = Health {
                throttled: Some(true),
                ..Health::default()
            };
            assert_eq!(health, rest, "{bad}");
        }
    }

    #[test]
    fn the_ends_of_the_ranges_are_good() {
        let health = parse(
            r#"{"temperature_c":-100,"wifi_dbm":-120,"version":"12345678901234567890123456789012"}"#,
        );
        assert_eq!(health.temperature.map(Temperature::degrees), Some(-100.0));
        assert_eq!(health.wifi_dbm, Some(-120));
        assert_eq!(health.version.unwrap().as_str().len(), Version::MAX);
        assert_eq!(parse(r#"{"wifi_dbm":0}"#).wifi_dbm, Some(0));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(degrees in -100.0..200.0f64, dbm in -120..=0i8, version in "[!-~]{1,32}") {
            let health = Health {
                temperature: Temperature::celsius(degrees),
                wifi_dbm: Some(dbm),
                version: Version::new(&version),
                ..Health::default()
            };
            prop_assert_eq!(parse(&serde_json::to_string(&health).unwrap()), health);
            let shown = health.version.map(|version| version.as_str().to_owned());
            prop_assert_eq!(shown, Some(version));
        }
    }
}
