use super::*;

const FILE: &str = r#"
every = 4
classes = "person,car"

[events]
file = "events.jsonl"
cooldown = 30
armed = "22:00-06:00"

[camera.yard]
conf = 0.5
classes = ["dog", 3]
every = "auto"
mask = [[[0, 0], [1, 0], [1, 0.2]], [[0, 1], [0.1, 1], [0.1, 0.9]]]
end-after = 2.5
armed = "always"

[camera.yard.zone.drive]
polygon = [[0.1, 0.5], [0.9, 0.5], [0.5, 1.0]]
classes = "car"
min-time = 2

[camera."Front door"]
every = 2
"#;

fn name(text: &str) -> CameraName {
    text.parse().unwrap()
}

#[test]
fn each_table_sets_its_camera_and_the_others_keep_what_is_for_all() {
    let tables = CameraTables::parse(FILE).unwrap();
    assert_eq!(tables.events_file(), Some(&PathBuf::from("events.jsonl")));
    let settings = tables.event_settings(|_| 0.4);
    let [yard, door, other] =
        ["yard", "Front door", "gate"].map(|camera| settings.of(&name(camera)).clone());
    assert_eq!(yard.end_after, Duration::from_millis(2500));
    assert_eq!(yard.cooldown, Duration::from_secs(30));
    assert!(yard.armed.is_armed(720) && !door.armed.is_armed(720));
    assert_eq!(door, other);
    assert_eq!(other.end_after, Duration::from_secs(5));
    let [zone] = &yard.zones[..] else {
        panic!("one zone");
    };
    assert_eq!(
        (&zone.name[..], &zone.classes[..]),
        ("drive", &["car".to_owned()][..])
    );
    assert_eq!(zone.min_time, Duration::from_secs(2));
    let every = tables.every_of();
    assert_eq!(every[&name("yard")], Every::Auto);
    assert_eq!(every[&name("Front door")].to_string(), "2");
    assert_eq!(every.len(), 2);
}

#[test]
fn the_model_reports_what_any_camera_wants_and_each_keeps_its_own() {
    let tables = CameraTables::parse(FILE).unwrap();
    let classes = ["person".to_owned()];
    assert_eq!(
        tables.for_all(0.6, &classes),
        (0.5, ["3", "dog", "person"].map(str::to_owned).to_vec())
    );
    assert_eq!(tables.for_all(0.25, &[]), (0.25, Vec::new()));
    let yard = tables.filter_of(&name("yard"), 0.25, &classes);
    assert_eq!((yard.conf, yard.mask.len()), (0.5, 2));
    assert_eq!(yard.classes, ["dog", "3"]);
    let gate = tables.filter_of(&name("gate"), 0.25, &classes);
    assert_eq!((gate.conf, &gate.classes[..]), (0.25, &classes[..]));
}

#[test]
fn events_are_wanted_by_their_table_or_by_a_zone() {
    for (text, wanted) in [
        ("", false),
        ("events = \"file\"", false),
        ("[camera.yard]\nconf = 0.5", false),
        ("[events]", true),
        (
            "[camera.yard.zone.lawn]\npolygon = [[0, 0], [1, 0], [1, 1]]",
            true,
        ),
    ] {
        assert_eq!(
            CameraTables::parse(text).unwrap().want_events(),
            wanted,
            "{text}"
        );
    }
}

#[test]
fn a_mistake_is_named_with_its_line_and_with_what_is_allowed() {
    for (old, new, line, part) in [
        ("conf = 0.5", "conf = 50", 11, "0 to 1"),
        ("conf = 0.5", "cnof = 0.5", 11, "`conf`"),
        (
            "conf = 0.5",
            "model = \"m.onnx\"",
            11,
            "unknown field `model`",
        ),
        ("\"dog\", 3", "\"dog\", 3.5", 12, "list of names"),
        ("every = \"auto\"", "every = 0", 13, "whole number from 1"),
        ("[1, 0.2]]", "[300, 0.2]]", 14, "divide pixels"),
        (
            "[[0.1, 0.5], [0.9, 0.5], [0.5, 1.0]]",
            "[[0.1, 0.5], [0.9, 0.5]]",
            19,
            "3 to 64 corners",
        ),
        ("end-after = 2.5", "end-after = -1", 15, "seconds"),
        (
            "armed = \"22:00-06:00\"",
            "armed = \"at night\"",
            8,
            "22:00-06:00",
        ),
        ("min-time = 2", "min-tme = 2", 21, "`min-time`"),
        ("zone.drive", "zone.\"a/b\"", 18, "letters"),
        ("cooldown = 30", "cooldown = \"long\"", 7, "invalid type"),
    ] {
        let text = FILE.replace(old, new);
        assert_ne!(text, FILE);
        let why = CameraTables::parse(&text).unwrap_err();
        assert!(why.contains(part) && !why.contains('\n'), "{why}");
        assert!(why.starts_with(&format!("line {line}: ")), "{line}: {why}");
    }
}

#[test]
fn tables_are_bounded() {
    let zone = |n: usize| format!("[camera.yard.zone.z{n}]\npolygon = [[0, 0], [1, 0], [1, 1]]\n");
    let zones: String = (0..33).map(zone).collect();
    assert!(
        CameraTables::parse(&zones)
            .unwrap_err()
            .contains("32 zones")
    );
    let cameras: String = (0..65).map(|n| format!("[camera.c{n}]\n")).collect();
    assert!(
        CameraTables::parse(&cameras)
            .unwrap_err()
            .contains("64 tables")
    );
}

#[test]
fn the_example_of_the_configuration_file_is_right_and_changes_nothing_as_it_stands() {
    assert_eq!(CameraTables::parse(EXAMPLE), Ok(CameraTables::default()));
    let lines = EXAMPLE.lines().filter_map(|line| line.strip_prefix('#'));
    let set: String = lines
        .filter(|line| !line.starts_with(' '))
        .map(|line| format!("{line}\n"))
        .collect();
    let tables = CameraTables::parse(&set).unwrap();
    assert!(tables.want_events());
    let settings = tables.event_settings(|_| 0.45);
    assert_eq!(settings.default, CameraSettings::default());
    assert_eq!(settings.of(&name("yard")).zones.len(), 1);
}
