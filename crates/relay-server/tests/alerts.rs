//! The alert rules in `config/`: they name figures that the relay has, and promtool sees each of them fire and rest.

use std::fs;
use std::process::Command;

/// Ends of a histogram's names in queries.
const SERIES: [&str; 2] = ["_bucket", "_count"];

#[test]
fn each_figure_of_the_alerts_is_one_of_the_relays() {
    let source = include_str!("../src/metrics/mod.rs");
    let rules = fs::read_to_string(testkit::repository().join("config/alerts.yml")).unwrap();
    let words = rules.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let named: Vec<&str> = words
        .filter(|word| word.starts_with("sightline_"))
        .collect();
    assert!(named.len() > 9, "{named:?}");
    for name in named {
        let family = SERIES.iter().find_map(|end| name.strip_suffix(end));
        let family = family.unwrap_or(name);
        assert!(source.contains(&format!("\"{family}\"")), "{name}");
    }
}

#[test]
fn each_alert_fires_when_it_should_and_rests_otherwise() {
    let rules = testkit::repository().join("config/alerts.yml");
    let tests = include_str!("alerts.test.yml").replace("{{alerts}}", rules.to_str().unwrap());
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), tests).unwrap();
    let ran = Command::new("promtool")
        .args(["test", "rules"])
        .arg(file.path())
        .output();
    let Ok(ran) = ran else {
        return testkit::skip("promtool is not installed (scripts/setup --test)");
    };
    let [out, err] =
        [ran.stdout, ran.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(ran.status.success(), "{out}{err}");
}
