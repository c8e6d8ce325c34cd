//! What `config/home-assistant` holds for Home Assistant.

use std::process::Command;

/// Reads the blueprint as Home Assistant does, whose `!input NAME` is a tag; prints its domain, the inputs that it names
/// and those that it uses, and the topic of its trigger.
const CHECK: &str = r"
import sys, yaml
used = set()
class Loader(yaml.SafeLoader): pass
Loader.add_constructor('!input', lambda loader, node: used.add(node.value))
blueprint = yaml.load(open(sys.argv[1]), Loader)
about = blueprint['blueprint']
print(about['domain'], ','.join(sorted(about['input'])), ','.join(sorted(used)), blueprint['triggers'][0]['topic'])
assert all('selector' in one and 'name' in one for one in about['input'].values())
assert blueprint['actions'] and blueprint['conditions']
";

#[test]
fn the_blueprint_is_yaml_and_uses_each_of_its_inputs() {
    // Debian's own, which has the package python3-yaml.
    let python = "/usr/bin/python3";
    let has_yaml = Command::new(python).args(["-c", "import yaml"]).output();
    if !has_yaml.is_ok_and(|output| output.status.success()) {
        return testkit::skip("python3-yaml is not here");
    }
    let file = testkit::repository().join("config/home-assistant/notify_on_event.yaml");
    let output = Command::new(python)
        .args(["-c", CHECK])
        .arg(file)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let words: Vec<_> = printed.trim().splitn(4, ' ').collect();
    assert_eq!(words[0], "automation");
    assert_eq!(words[1], words[2], "each input is used, and no other");
    assert_eq!(words[3], "{{ prefix }}/events");
}
