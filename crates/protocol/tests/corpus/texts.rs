//! Seeds of the targets that take a text: tickets, a model's metadata and sources.

pub(super) fn tickets() -> Vec<(&'static str, String)> {
    let digits = "0123456789abcdef".repeat(4);
    let end = format!("?token={digits}#sha256={digits}");
    vec![
        ("whole", format!("sightline://relay.example:8081/yard{end}")),
        ("any-camera", format!("sightline://[2001:db8::7]:9000{end}")),
        ("space", format!("sightline://192.0.2.7/back%20yard{end}")),
        (
            "cut-at-the-comment",
            format!("sightline://relay?token={digits}"),
        ),
        (
            "short-token",
            format!("sightline://relay?token=12#sha256={digits}"),
        ),
        ("host", "relay.example:9000".to_owned()),
        ("bare-ipv6", "2001:db8::7".to_owned()),
        ("zone", "[fe80::1%eth0]:9000".to_owned()),
        ("five-digits", "2::08037".to_owned()),
        ("sign", "relay.example:+1".to_owned()),
        ("control", "\u{1b}[2J\n\u{202e}".to_owned()),
    ]
}

pub(super) fn metadata() -> [(&'static str, &'static str); 6] {
    [
        ("dict", "{0: 'person', 1: \"hair drier\"}"),
        ("list", "['person', 'traffic light',]"),
        ("escapes", "{1: 'b', '0': 'it\\'s {a}, [b]'}"),
        ("control", "['\u{1b}[2J\n', '\u{202e}']"),
        ("large-key", "{99999: 'a'}"),
        ("nested", "{0: {0: ['a']}}"),
    ]
}

pub(super) fn sources() -> [(&'static str, &'static str); 8] {
    [
        ("word", "demo"),
        ("number", "0"),
        ("device", "/dev/video2"),
        ("url", "rtsp://me:p@ss@cam:554/1"),
        ("pipeline", "gst:souphttpsrc location=http://cam/ ! appsink"),
        ("file", "img_%03d.jpg"),
        ("file-url", "file:///tmp/drive.mp4"),
        ("file-named-demo", "file://demo"),
    ]
}
