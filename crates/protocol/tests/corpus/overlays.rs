//! Inputs of the fuzz target `overlay`.

/// Returns the inputs. Flags: number by the low two bits (0 ahead of the last, 1 as it is, 2 from the top, 3 a power of two),
/// time by the next two (0 of the number, 1 near 1970, 2 from the top, 3 any), then stream, camera, and 64 for a frame
/// without a label or a message of the model.
pub(super) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let frame = |flags: u8, number: u8, time: u8| vec![0, flags, number, time];
    let message = |flags: u8, number: u8, time: u8, boxes: u8| vec![1, flags, number, time, boxes];
    let pause = |square: u8| vec![3, square];
    let steady = (0..6).flat_map(|_| [frame(0, 1, 0), message(0, 0, 0, 3), pause(10)]);
    let lost = (0..6).flat_map(|n| match n % 3 {
        0 => vec![
            frame(0, 1, 0),
            message(0, 0, 0, 5),
            message(64, 0, 0, 2),
            pause(10),
        ],
        _ => vec![frame(0, 1, 0), pause(10)],
    });
    let line = br#"{"v":1,"camera":"yard","seq":1e3,"t":NaN,"w":3,"h":2,"kind":"tracked","detections":[]}"#;
    let top = u8::MAX;
    vec![
        ("steady", steady.collect::<Vec<_>>().concat()),
        ("lost-messages", lost.collect::<Vec<_>>().concat()),
        (
            "crowd",
            [
                frame(1, 1, 0),
                message(1, 1, 0, 254),
                frame(1, 2, 0),
                message(1, 2, 0, 255),
            ]
            .concat(),
        ),
        (
            "top-of-the-numbers",
            [
                frame(2, 1, 0),
                frame(2, 0, 0),
                message(2, 0, 0, 2),
                frame(1, 1, 0),
            ]
            .concat(),
        ),
        (
            "absurd-number",
            [
                frame(1, 1, 0),
                frame(2, 0, 0),
                frame(1, 2, 0),
                pause(60),
                frame(2, 0, 0),
            ]
            .concat(),
        ),
        (
            "absurd-times",
            [
                frame(9, 1, 0),
                message(9, 1, 0, 3),
                frame(13, 2, 63),
                message(13, 2, 0x7f, 3),
            ]
            .concat(),
        ),
        (
            "time-backwards",
            [
                frame(5, 1, 200),
                message(5, 1, 200, 3),
                frame(5, 2, 1),
                message(5, 2, 1, 3),
            ]
            .concat(),
        ),
        (
            "no-number",
            [
                frame(1, 1, 0),
                message(13, 1, top, 3),
                vec![2, line.len() as u8],
                line.to_vec(),
            ]
            .concat(),
        ),
        (
            "stale",
            [
                frame(1, 1, 0),
                message(1, 1, 0, 3),
                pause(40),
                frame(1, 2, 0),
            ]
            .concat(),
        ),
        (
            "bare-frames",
            [
                frame(1, 1, 0),
                frame(64, 0, 0),
                frame(64, 0, 0),
                frame(1, 4, 0),
            ]
            .concat(),
        ),
        (
            "another-camera",
            [
                frame(1, 1, 0),
                message(33, 1, 0, 3),
                frame(33, 1, 0),
                vec![3, 255],
            ]
            .concat(),
        ),
    ]
}
