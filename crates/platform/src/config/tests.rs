use std::fs;

use super::*;

#[derive(Debug, Parser)]
#[command(name = "config-test-program", version)]
struct Example {
    #[command(flatten)]
    common: Common,
    /// How many
    #[arg(long, default_value_t = 4)]
    every: u32,
    /// Where
    #[arg(long)]
    server: Option<String>,
    /// Switch
    #[arg(long)]
    preview: bool,
    /// A key that had another name
    #[arg(long, default_value_t = 4)]
    udp_viewers: u16,
}

fn parse(file: &str, args: &[&str]) -> Result<Example, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("example.toml");
    fs::write(&path, file).unwrap();
    let mut argv = vec!["x".into(), "--config".into(), path.into_os_string()];
    argv.extend(args.iter().map(OsString::from));
    let matches = resolve(command::<Example>(), argv).map_err(|err| err.to_string())?;
    clap::FromArgMatches::from_arg_matches(&matches).map_err(|err: clap::Error| err.to_string())
}

#[test]
fn a_flag_goes_before_the_file_and_the_file_before_the_default() {
    assert_eq!(parse("", &[]).unwrap().every, 4);
    assert_eq!(parse("every = 3", &[]).unwrap().every, 3);
    assert_eq!(parse("every = 3", &["--every", "2"]).unwrap().every, 2);
    assert_eq!(parse("server = 'a:1'", &[]).unwrap().server.unwrap(), "a:1");
}

#[test]
fn a_switch_can_be_set_in_the_file_and_taken_back_on_the_command_line() {
    assert!(!parse("", &[]).unwrap().preview);
    assert!(parse("", &["--preview"]).unwrap().preview);
    assert!(parse("preview = true", &[]).unwrap().preview);
    assert!(
        !parse("preview = true", &["--preview=false"])
            .unwrap()
            .preview
    );
}

#[test]
fn doctor_stands_before_or_behind_the_flags_and_changes_none_of_them() {
    assert_eq!(parse("", &[]).unwrap().common.task, None);
    for line in [
        &["doctor", "--every", "2", "--preview"][..],
        &["--every=2", "--preview", "doctor"],
    ] {
        let args = parse("server = 'a:1'", line).unwrap();
        assert_eq!(args.common.task, Some(Task::Doctor), "{line:?}");
        assert!(args.every == 2 && args.preview && args.server.is_some());
    }
    let err = parse("", &["docter"]).unwrap_err();
    assert!(err.contains("'docter'") && err.contains("doctor"), "{err}");
    assert!(parse("", &["doctor", "--evry", "2"]).is_err());
    assert!(parse("task = 'doctor'", &[]).is_err(), "no key of a file");
}

#[test]
fn a_negative_number_is_a_bad_value_and_no_unknown_flag() {
    let err = parse("", &["--every", "-1"]).unwrap_err();
    assert!(err.contains("invalid value '-1' for '--every"), "{err}");
}

#[test]
fn an_unknown_key_is_an_error_that_lists_the_known_ones() {
    let err = parse("evry = 3", &[]).unwrap_err();
    assert!(
        err.contains("unknown key 'evry'") && err.contains("every, server"),
        "{err}"
    );
}

#[test]
fn a_bad_value_is_an_error_that_names_the_file() {
    let err = parse("every = 'often'", &[]).unwrap_err();
    assert!(
        err.contains("--every") && err.contains("example.toml"),
        "{err}"
    );
    assert!(
        parse("every = {}", &[])
            .unwrap_err()
            .contains("single value")
    );
    assert!(parse("every", &[]).unwrap_err().contains("TOML"));
}

#[test]
fn a_key_that_was_renamed_is_an_error_that_gives_its_new_name() {
    let err = parse("plain-viewers = 2", &[]).unwrap_err();
    assert!(
        err.contains("'plain-viewers' is now 'udp-viewers'"),
        "{err}"
    );
    for args in [&["--plain-viewers", "2"][..], &["--plain-viewers=2"]] {
        let err = parse("", args).unwrap_err();
        assert!(
            err.contains("--plain-viewers is now --udp-viewers"),
            "{err}"
        );
    }
    let unrelated = parse("", &["--plain-egress", "2"]).unwrap_err();
    assert!(
        !unrelated.contains("is now"),
        "it has no such key: {unrelated}"
    );
    assert_eq!(parse("udp-viewers = 2", &[]).unwrap().udp_viewers, 2);
}

#[test]
fn the_template_names_every_key_and_changes_nothing() {
    let text = template(&command::<Example>());
    for line in [
        "#every = 4",
        "#preview = false",
        "#log-format = \"text\"",
        "#server = \"SERVER\"   # no default",
    ] {
        assert!(text.contains(line), "{line} is missing in:\n{text}");
    }
    assert_eq!(parse(&text, &[]).unwrap().every, 4);
    let set = text
        .replace("#every = 4", "every = 5")
        .replace("#preview = false", "preview = true");
    assert!(parse(&set, &[]).unwrap().preview);
}
