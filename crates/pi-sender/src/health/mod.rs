//! The state of this machine for the relay: temperature, throttling and undervoltage of a Raspberry Pi, Wi-Fi signal.
//!
//! ```text
//! every 10 s, on a thread where no frame waits: /sys, /proc --> Reader --> watch::Receiver<Health> --> SenderInfo
//! ```

mod network;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use protocol::health::{Health, Temperature, Version};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

/// Time between two readings. A processor warms up in minutes.
const INTERVAL: Duration = Duration::from_secs(10);
/// Where the firmware of a Raspberry Pi reports throttling, as a hexadecimal number.
const GET_THROTTLED: &str = "sys/devices/platform/soc/soc:firmware/get_throttled";
/// Bit of an undervoltage now; the one 16 places higher is that of any time before.
const UNDERVOLTAGE: u32 = 1;
/// Bits of a frequency that is capped, throttled, or lowered at the soft temperature limit.
const THROTTLED: u32 = 0b1110;
/// Distance from a bit to that of any time before.
const SINCE_BOOT: u32 = 16;

/// Reads this machine's state now and every ten seconds, as long as the receiver or a clone of it lives. Call it inside a
/// tokio runtime.
pub(crate) fn watch() -> watch::Receiver<Health> {
    watch_machine(Reader::new("/"), INTERVAL)
}

fn watch_machine(mut reader: Reader, interval: Duration) -> watch::Receiver<Health> {
    let (sender, health) = watch::channel(Health {
        version: reader.version,
        ..Health::default()
    });
    tokio::spawn(async move {
        while !sender.is_closed() {
            // A sensor's driver may take its time.
            let read = spawn_blocking(move || {
                let health = reader.read();
                (reader, health)
            });
            let Ok((back, health)) = read.await else {
                return;
            };
            reader = back;
            sender.send_if_modified(|known| std::mem::replace(known, health) != health);
            tokio::select! {
                () = sender.closed() => {}
                () = sleep(interval) => {}
            }
        }
    });
    health
}

/// Reads the state of a machine.
#[derive(Debug)]
struct Reader {
    root: PathBuf,
    version: Option<Version>,
    /// All bits that the firmware has reported: it forgets those of any time before once they are read.
    reported: u32,
}

impl Reader {
    /// Returns a reader of the machine whose `/sys` and `/proc` lie in this directory.
    fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            version: Version::new(env!("CARGO_PKG_VERSION")),
            reported: 0,
        }
    }

    fn read(&mut self) -> Health {
        let mut health = Health {
            temperature: temperature(&self.root),
            wifi_dbm: network::wifi_dbm(&self.root),
            version: self.version,
            ..Health::default()
        };
        if let Some(bits) = read_text(&self.root.join(GET_THROTTLED)).and_then(|text| hex(&text)) {
            self.reported |= bits;
            let ever = self.reported | self.reported >> SINCE_BOOT;
            health.throttled = Some(bits & THROTTLED != 0);
            health.throttled_since_boot = Some(ever & THROTTLED != 0);
            health.undervoltage = Some(bits & UNDERVOLTAGE != 0);
            health.undervoltage_since_boot = Some(ever & UNDERVOLTAGE != 0);
        }
        health
    }
}

/// Returns the temperature of the hottest zone: where there are several, which one is the processor's differs by machine.
fn temperature(root: &Path) -> Option<Temperature> {
    let zones = fs::read_dir(root.join("sys/class/thermal")).ok()?;
    let zones = zones.flatten().filter(|entry| {
        let name = entry.file_name();
        name.to_string_lossy().starts_with("thermal_zone")
    });
    let degrees = zones.filter_map(|zone| {
        let text = read_text(&zone.path().join("temp"))?;
        Some(text.parse::<i32>().ok().map(f64::from)? / 1000.0)
    });
    // A sensor that is switched off reports what no computer has.
    let good = degrees.filter_map(Temperature::celsius);
    good.max_by(|a, b| a.degrees().total_cmp(&b.degrees()))
}

fn hex(text: &str) -> Option<u32> {
    u32::from_str_radix(text.trim_start_matches("0x"), 16).ok()
}

/// Returns the text of one of the kernel's files; `None` if it is not there.
fn read_text(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine's `/sys` and `/proc`.
    pub(super) struct Machine(tempfile::TempDir);

    impl Machine {
        pub(super) fn new(files: &[(&str, &str)]) -> Self {
            let machine = Self(tempfile::tempdir().unwrap());
            for (path, text) in files {
                machine.write(path, text);
            }
            machine
        }

        pub(super) fn write(&self, path: &str, text: &str) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        pub(super) fn root(&self) -> &Path {
            self.0.path()
        }

        fn reader(&self) -> Reader {
            Reader::new(self.root())
        }
    }

    /// Throttled and undervoltage, now and since the start.
    fn bits(health: Health) -> Option<[bool; 4]> {
        Some([
            health.throttled?,
            health.throttled_since_boot?,
            health.undervoltage?,
            health.undervoltage_since_boot?,
        ])
    }

    #[test]
    fn a_machine_without_sensors_has_nothing_but_the_programs_version() {
        let health = Machine::new(&[]).reader().read();
        let version = Version::new(env!("CARGO_PKG_VERSION"));
        assert!(version.is_some());
        let only = Health {
            version,
            ..Health::default()
        };
        assert_eq!(health, only);
    }

    #[test]
    fn the_hottest_zone_that_works_is_the_temperature() {
        let machine = Machine::new(&[
            ("sys/class/thermal/thermal_zone0/temp", "41318\n"),
            ("sys/class/thermal/thermal_zone1/temp", "52582\n"),
            ("sys/class/thermal/thermal_zone2/temp", "-274000\n"),
            ("sys/class/thermal/thermal_zone3/temp", "2147483647\n"),
            ("sys/class/thermal/thermal_zone4/temp", "\n"),
            ("sys/class/thermal/cooling_device0/temp", "99000\n"),
        ]);
        let degrees = machine
            .reader()
            .read()
            .temperature
            .map(Temperature::degrees);
        assert_eq!(degrees, Some(52.6));
    }

    #[test]
    fn the_firmwares_bits_are_throttling_and_undervoltage_now_and_before() {
        for (text, expected) in [
            ("0", [false, false, false, false]),
            ("1", [false, false, true, true]),
            ("2", [true, true, false, false]),
            ("4", [true, true, false, false]),
            ("8", [true, true, false, false]),
            ("50005", [true, true, true, true]),
            ("0x50000\n", [false, true, false, true]),
            ("80000", [false, true, false, false]),
        ] {
            let machine = Machine::new(&[(GET_THROTTLED, text)]);
            assert_eq!(bits(machine.reader().read()), Some(expected), "{text}");
        }
        let junk = Machine::new(&[(GET_THROTTLED, "off")]);
        assert_eq!(bits(junk.reader().read()), None);
    }

    #[test]
    fn what_the_firmware_forgets_once_it_is_read_stays_reported() {
        let machine = Machine::new(&[(GET_THROTTLED, "10000")]);
        let mut reader = machine.reader();
        reader.read();
        machine.write(GET_THROTTLED, "0");
        assert_eq!(bits(reader.read()), Some([false, false, false, true]));
    }

    #[tokio::test]
    async fn changes_are_reported_and_equal_readings_are_not() {
        const TEMP: &str = "sys/class/thermal/thermal_zone0/temp";
        const TIMEOUT: Duration = Duration::from_secs(10);
        let machine = Machine::new(&[(TEMP, "50000")]);
        let mut health = watch_machine(machine.reader(), Duration::from_millis(5));
        assert!(health.borrow().version.is_some(), "it needs no reading");
        let degrees = |health: &Health| health.temperature.map(Temperature::degrees);
        for (text, expected) in [("50000", 50.0), ("61000", 61.0)] {
            machine.write(TEMP, text);
            let reading = health.wait_for(|health| degrees(health) == Some(expected));
            tokio::time::timeout(TIMEOUT, reading)
                .await
                .unwrap()
                .unwrap();
        }
        health.mark_unchanged();
        let change = tokio::time::timeout(Duration::from_millis(100), health.changed());
        assert!(change.await.is_err(), "nothing has changed");
    }
}
