//! The README of each program shows its `--help`.

use std::fs;
use std::process::Command;

use testkit::process::binary;

const BEGIN: &str = "<!-- flags: written by UPDATE_README=1 cargo test -p e2e --test readme -->\n";
const END: &str = "<!-- end of flags -->";
/// Most lines of the project's README: a user reads it whole.
const MAX_LINES: usize = 200;

#[test]
fn the_flags_in_the_readmes_are_those_of_the_programs() {
    for program in ["pi-sender", "relay-server", "viewer"] {
        let file = testkit::repository().join(format!("crates/{program}/README.md"));
        let readme = fs::read_to_string(&file).unwrap();
        let (before, rest) = readme
            .split_once(BEGIN)
            .expect("the README marks where flags begin");
        let (shown, after) = rest.split_once(END).expect("and where they end");
        let flags = flags(program);
        if std::env::var_os("UPDATE_README").is_some() {
            fs::write(&file, format!("{before}{BEGIN}{flags}{END}{after}")).unwrap();
        } else {
            assert!(
                shown == flags,
                "the flags in {} differ from --help; UPDATE_README=1 writes them again",
                file.display()
            );
        }
    }
}

#[test]
fn the_readme_of_the_project_is_short_and_its_links_lead_to_files() {
    let root = testkit::repository();
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let lines = readme.lines().count();
    assert!(lines <= MAX_LINES, "{lines} lines");
    let targets = readme.split("](").skip(1);
    let targets = targets.filter_map(|rest| rest.split([')', '#']).next());
    let local: Vec<_> = targets.filter(|target| !target.contains("://")).collect();
    assert!(local.len() > 5, "{local:?}");
    for target in local {
        assert!(root.join(target).exists(), "{target}");
    }
}

fn flags(program: &str) -> String {
    let output = Command::new(binary(program))
        .arg("--help")
        .env_remove("COLUMNS")
        .output()
        .expect("it starts");
    let help = String::from_utf8(output.stdout).expect("help is text");
    format!("\n```text\n{}\n```\n", help.trim_end())
}
