//! The README shows each program's `--help`.

use std::fs;
use std::process::Command;

use testkit::process::binary;

const BEGIN: &str = "<!-- flags: written by UPDATE_README=1 cargo test -p e2e --test readme -->\n";
const END: &str = "<!-- end of flags -->";

#[test]
fn the_flags_in_the_readme_are_those_of_the_programs() {
    let file = testkit::repository().join("README.md");
    let readme = fs::read_to_string(&file).unwrap();
    let (before, rest) = readme
        .split_once(BEGIN)
        .expect("the README marks where flags begin");
    let (shown, after) = rest.split_once(END).expect("and where they end");
    let programs = ["pi-sender", "relay-server", "viewer"];
    let flags: String = programs.iter().map(|name| section(name)).collect();
    if std::env::var_os("UPDATE_README").is_some() {
        return fs::write(&file, format!("{before}{BEGIN}{flags}{END}{after}")).unwrap();
    }
    assert!(
        shown == flags,
        "the README's flags differ from --help; UPDATE_README=1 writes them again"
    );
}

fn section(name: &str) -> String {
    let output = Command::new(binary(name))
        .arg("--help")
        .env_remove("COLUMNS")
        .output()
        .expect("it starts");
    let help = String::from_utf8(output.stdout).expect("help is text");
    format!(
        "\n<details><summary><code>{name} --help</code></summary>\n\n```text\n{}\n```\n\n</details>\n",
        help.trim_end()
    )
}
