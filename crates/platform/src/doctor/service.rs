//! Checks of the program as a service: its units under systemd, and the kernel's settings that packages install.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use super::Check;

/// Where packages install the settings, and an administrator their own.
const SYSCTL_FILES: [&str; 2] = [
    "/etc/sysctl.d/50-sightline.conf",
    "/usr/lib/sysctl.d/50-sightline.conf",
];
/// Most units that are checked: a machine has a handful of cameras.
const MAX_UNITS: usize = 16;
/// What is asked of a unit.
const PROPERTIES: &str =
    "--property=Id,LoadState,ActiveState,SubState,Result,ExecMainStatus,StatusText";

/// Checks the program's service and its further instances (`pi-sender@NAME`), the file that it reads, and the kernel's settings.
/// `examined` is the configuration file that the doctor looked at. Empty where systemd does not run, or has no such unit.
pub fn checks(program: &str, examined: Option<&Path>) -> Vec<Check> {
    let units = units(program);
    let mut checks: Vec<Check> = units.iter().filter_map(judge).collect();
    if !checks.is_empty() {
        let read = format!("/etc/sightline/{program}.toml");
        checks.extend(judge_file(program, Path::new(&read), examined));
    }
    checks.extend(sysctl());
    checks
}

/// State of a unit, as `systemctl show` prints it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Unit {
    id: String,
    load: String,
    active: String,
    sub: String,
    result: String,
    status: String,
    text: String,
}

/// Returns the program's units; none where systemd does not run.
fn units(program: &str) -> Vec<Unit> {
    if !Path::new("/run/systemd/system").is_dir() {
        return Vec::new();
    }
    // A pattern shows the instances that are loaded.
    let (unit, instances) = (format!("{program}.service"), format!("{program}@*.service"));
    let shown = Command::new("systemctl")
        .args(["show", PROPERTIES, "--", &unit, &instances])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    let text = shown.map(|shown| shown.stdout).unwrap_or_default();
    parse(&String::from_utf8_lossy(&text))
}

/// Reads units: lines `Key=value`, an empty line between two.
fn parse(text: &str) -> Vec<Unit> {
    let unit = |block: &str| {
        let mut unit = Unit::default();
        for (key, value) in block.lines().filter_map(|line| line.split_once('=')) {
            let place = match key {
                "Id" => &mut unit.id,
                "LoadState" => &mut unit.load,
                "ActiveState" => &mut unit.active,
                "SubState" => &mut unit.sub,
                "Result" => &mut unit.result,
                "ExecMainStatus" => &mut unit.status,
                "StatusText" => &mut unit.text,
                _ => continue,
            };
            value.clone_into(place);
        }
        unit
    };
    text.split("\n\n")
        .map(unit)
        .filter(|unit| !unit.id.is_empty())
        .take(MAX_UNITS)
        .collect()
}

/// Checks a unit; `None` if it is not installed.
fn judge(unit: &Unit) -> Option<Check> {
    let Unit { id, result, .. } = unit;
    if unit.load != "loaded" {
        return None;
    }
    let log = format!("journalctl -u {id} -n 20 shows why");
    let ended = match (result.as_str(), unit.status.as_str()) {
        ("success" | "", _) => String::new(),
        ("exit-code", status) => format!(" (it ended with {status})"),
        (result, _) => format!(" ({result})"),
    };
    Some(match (unit.active.as_str(), unit.sub.as_str()) {
        ("active" | "reloading", _) => {
            let text = match unit.text.as_str() {
                "" => String::new(),
                text => format!(": {text}"),
            };
            Check::good("service", format!("{id} runs{text}"))
        }
        ("activating", "auto-restart") => Check::bad(
            "service",
            format!("{id} ends and is started again and again{ended}: {log}"),
        ),
        ("activating" | "deactivating", sub) => {
            Check::good("service", format!("{id} is in change: {sub}"))
        }
        ("failed", _) => Check::bad("service", format!("{id} has failed{ended}: {log}")),
        _ => Check::advice(
            "service",
            format!("{id} is installed and does not run: sudo systemctl enable --now {id}"),
        ),
    })
}

/// Checks whether the doctor looked at the file that the service reads.
fn judge_file(program: &str, read: &Path, examined: Option<&Path>) -> Option<Check> {
    if examined == Some(read) || (examined.is_none() && !read.exists()) {
        return None;
    }
    let examined = examined.map_or_else(
        || "no configuration file".to_owned(),
        |file| file.display().to_string(),
    );
    let read = read.display();
    Some(Check::advice(
        "service",
        format!(
            "this check looked at {examined}, and the service reads {read}: {program} doctor --config {read} checks that \
             (with sudo, if the file is not yours to read)"
        ),
    ))
}

/// Checks whether the settings that a package has installed are in force; `None` if there are none.
fn sysctl() -> Option<Check> {
    let file = SYSCTL_FILES.iter().find(|file| Path::new(file).is_file())?;
    let text = fs::read_to_string(file).ok()?;
    Some(judge_sysctl(file, &text, |key| {
        fs::read_to_string(format!("/proc/sys/{}", key.replace('.', "/")))
    }))
}

fn judge_sysctl(file: &str, text: &str, value: impl Fn(&str) -> io::Result<String>) -> Check {
    let lines = text.lines().map(str::trim);
    let settings = lines
        .filter(|line| !line.starts_with(['#', ';']))
        .filter_map(|line| line.split_once('='));
    let differs = |(key, wanted): &(&str, &str)| {
        let key = key.trim().trim_start_matches('-');
        // A key that this kernel does not have sets nothing.
        value(key).is_ok_and(|value| value.trim() != wanted.trim())
    };
    let others: Vec<&str> = settings
        .filter(differs)
        .map(|(key, _)| key.trim().trim_start_matches('-'))
        .collect();
    match others.is_empty() {
        true => Check::good("kernel", format!("the settings of {file} are in force")),
        false => Check::advice(
            "kernel",
            format!(
                "{file} is not in force ({}): sudo sysctl --system, or a file behind it sets them otherwise",
                others.join(", ")
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict::{self, Advice, Bad, Good};
    use super::*;

    fn unit(active: &str, sub: &str, result: &str) -> Unit {
        Unit {
            id: "pi-sender.service".to_owned(),
            load: "loaded".to_owned(),
            active: active.to_owned(),
            sub: sub.to_owned(),
            result: result.to_owned(),
            status: "1".to_owned(),
            text: "camera yard".to_owned(),
        }
    }

    fn assert_check(check: Option<Check>, verdict: Verdict, text: &str) {
        let check = check.unwrap();
        assert!(
            check.verdict == verdict && check.text.contains(text),
            "{check:?}"
        );
    }

    #[test]
    fn units_are_read_as_systemctl_shows_them() {
        let text = "Result=success\nExecMainStatus=0\nStatusText=a = b\nId=pi-sender.service\nLoadState=loaded\n\
                    ActiveState=active\nSubState=running\n\nId=pi-sender@yard.service\nLoadState=loaded\n";
        let units = parse(text);
        assert_eq!(units.len(), 2);
        assert_eq!(
            (units[0].text.as_str(), units[0].sub.as_str()),
            ("a = b", "running")
        );
        assert_eq!(units[1].id, "pi-sender@yard.service");
        assert_eq!(parse(""), []);
    }

    #[test]
    fn a_service_that_runs_shows_its_state_and_one_that_fails_where_to_look() {
        assert_check(
            judge(&unit("active", "running", "success")),
            Good,
            "pi-sender.service runs: camera yard",
        );
        assert_check(
            judge(&unit("activating", "auto-restart", "watchdog")),
            Bad,
            "again and again (watchdog): journalctl -u pi-sender.service",
        );
        assert_check(
            judge(&unit("failed", "failed", "exit-code")),
            Bad,
            "(it ended with 1): journalctl",
        );
        assert_check(
            judge(&unit("inactive", "dead", "success")),
            Advice,
            "systemctl enable --now",
        );
        let absent = Unit {
            load: "not-found".to_owned(),
            ..unit("inactive", "dead", "")
        };
        assert_eq!(judge(&absent), None);
    }

    #[test]
    fn another_configuration_than_the_services_is_said() {
        let read = Path::new("/etc/sightline/pi-sender.toml");
        let judge = |examined| judge_file("pi-sender", read, examined);
        assert_eq!(judge(Some(read)), None);
        let own = judge(Some(Path::new("/home/me/x.toml")));
        assert_check(own, Advice, "/home/me/x.toml, and the service reads /etc");
    }

    #[test]
    fn settings_that_are_not_in_force_are_named() {
        let text = include_str!("../../../../config/systemd/50-sightline.conf");
        let value = |kept: &'static str| {
            move |key: &str| match key {
                "net.ipv4.ipfrag_time" => Ok(kept.to_owned()),
                "net.core.rmem_max" => Ok("4194304\n".to_owned()),
                _ => Err(io::ErrorKind::NotFound.into()),
            }
        };
        let judge = |kept| Some(judge_sysctl("/f", text, value(kept)));
        assert_check(judge("1\n"), Good, "in force");
        assert_check(judge("30\n"), Advice, "(net.ipv4.ipfrag_time): sudo sysctl");
    }
}
