//! Inputs of the fuzz target `overlay`.

/// Inputs as steps. Flags: number by the low two bits (0 ahead of the last, 1 as it is, 2 from the top, 3 a power of two),
/// time by the next two (0 of the number, 1 near 1970, 2 from the top, 3 any), then stream, camera, and 64 for a frame
/// without a label or a message of the model. Behind the flags stand number and time, and in a message the boxes.
const SEEDS: &str = "\
crowd: frame 1 1 0, message 1 1 0 254, frame 1 2 0, message 1 2 0 255
top-of-the-numbers: frame 2 1 0, frame 2 0 0, message 2 0 0 2, frame 1 1 0
absurd-number: frame 1 1 0, frame 2 0 0, frame 1 2 0, pause 60, frame 2 0 0
absurd-times: frame 9 1 0, message 9 1 0 3, frame 13 2 63, message 13 2 127 3
time-backwards: frame 5 1 200, message 5 1 200 3, frame 5 2 1, message 5 2 1 3
stale: frame 1 1 0, message 1 1 0 3, pause 40, frame 1 2 0
bare-frames: frame 1 1 0, frame 64 0 0, frame 64 0 0, frame 1 4 0
another-camera: frame 1 1 0, message 33 1 0 3, frame 33 1 0, pause 255";

/// Returns the inputs.
pub(super) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let line = br#"{"v":1,"camera":"yard","seq":1e3,"t":NaN,"w":3,"h":2,"kind":"tracked","detections":[]}"#;
    let no_number = steps("frame 1 1 0, message 13 1 255 3");
    let no_number = [&no_number, &[2, line.len() as u8][..], line].concat();
    let steady = steps("frame 0 1 0, message 0 0 0 3, pause 10").repeat(6);
    let lost = "frame 0 1 0, message 0 0 0 5, message 64 0 0 2, pause 10, frame 0 1 0, pause 10, frame 0 1 0, pause 10";
    let listed = SEEDS.lines().filter_map(|line| line.split_once(": "));
    let listed = listed.map(|(name, text)| (name, steps(text)));
    let made = [
        ("steady", steady),
        ("lost-messages", steps(lost).repeat(2)),
        ("no-number", no_number),
    ];
    listed.chain(made).collect()
}

/// Returns the bytes of steps: the number of each one's kind, and its numbers.
fn steps(text: &str) -> Vec<u8> {
    let byte = |word: &str| match word {
        "frame" => 0,
        "message" => 1,
        "pause" => 3,
        number => number.parse().expect("a step is of numbers"),
    };
    let words = text.split([' ', ',']).filter(|word| !word.is_empty());
    words.map(byte).collect()
}
