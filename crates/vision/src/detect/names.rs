//! The names of a model's classes, as exporters write them into its metadata.
//!
//! YOLOv5 writes Python's `str()` of a dict (`{0: 'person', 1: 'bicycle'}`) or, from older checkpoints, of a list
//! (`['person', 'bicycle']`). That is neither JSON nor any other format with a parser, so this file has one for these two
//! forms. A model may be of anyone's making, so text, number and length of the names are bounded, and what a terminal would
//! obey is escaped. Without names, 80 classes are COCO's, in which all of YOLOv5's own weights are trained.

use protocol::text::printable;

/// Number of a model's classes, at most, above any detector's: without a bound a hostile key would decide how much memory
/// is taken.
pub const MAX_CLASSES: usize = 10_000;
/// Length of the longest name in characters: names are drawn beside boxes.
pub const MAX_NAME: usize = 64;
/// Length of the longest metadata that is parsed, in bytes: that of the most names of three bytes a character.
const MAX_TEXT: usize = MAX_CLASSES * MAX_NAME * 3;

/// Parses the `names` metadata into names by class number, each on one line and cut to [`MAX_NAME`] characters; `None` if it
/// is neither form, or too long.
pub fn parse(text: &str) -> Option<Vec<String>> {
    if text.len() > MAX_TEXT {
        return None;
    }
    let text = text.trim();
    let inner = |open, close| Some(text.strip_prefix(open)?.strip_suffix(close)?.trim());
    if let Some(list) = inner('[', ']') {
        return entries(list, |rest| Some((None, rest)));
    }
    entries(inner('{', '}')?, |rest| {
        let (key, rest) = rest.split_once(':')?;
        let key = key.trim().trim_matches(['\'', '"']).parse().ok()?;
        Some((Some(key), rest))
    })
}

/// Returns names for `count` classes: those that the model brings, COCO's, or `class N`.
pub fn complete(found: Option<Vec<String>>, count: usize) -> Vec<String> {
    let known = match found {
        Some(names) => names,
        None if count == COCO.len() => COCO.map(str::to_owned).to_vec(),
        None => Vec::new(),
    };
    let mut names: Vec<String> = known.into_iter().take(count).collect();
    for (number, name) in names.iter_mut().enumerate() {
        if name.is_empty() {
            *name = format!("class {number}");
        }
    }
    names.extend((names.len()..count).map(|number| format!("class {number}")));
    names
}

/// Parses `key string, key string, ...`; `key` parses the text before a string.
fn entries(
    mut rest: &str,
    key: impl Fn(&str) -> Option<(Option<usize>, &str)>,
) -> Option<Vec<String>> {
    let mut names = Vec::new();
    while !rest.trim_start().is_empty() {
        let (number, behind) = key(rest.trim_start())?;
        let (name, behind) = string(behind.trim_start())?;
        let number = number.unwrap_or(names.len());
        if number >= MAX_CLASSES {
            return None;
        }
        if names.len() <= number {
            names.resize(number + 1, String::new());
        }
        names[number] = printable(&name, MAX_NAME);
        let behind = behind.trim_start();
        rest = match behind.strip_prefix(',') {
            Some(more) => more,
            None if behind.is_empty() => behind,
            None => return None,
        };
    }
    Some(names)
}

/// Returns the value of a Python string literal and the text behind it.
fn string(text: &str) -> Option<(String, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let mut name = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => name.push(chars.next()?.1),
            c if c == quote => return Some((name, &text[at + 1..])),
            c => name.push(c),
        }
    }
    None
}

#[rustfmt::skip]
const COCO: [&str; 80] = [
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow",
    "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee",
    "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange",
    "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed",
    "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven",
    "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use protocol::text::is_hidden;

    use super::*;

    #[test]
    fn a_dict_and_a_list_are_read() {
        assert_eq!(
            parse("{0: 'person', 1: \"hair drier\"}").unwrap(),
            ["person", "hair drier"]
        );
        assert_eq!(
            parse("['person', 'traffic light',]").unwrap(),
            ["person", "traffic light"]
        );
        assert_eq!(
            parse("{1: 'b', 0: 'it\\'s {a}, [b]'}").unwrap(),
            ["it's {a}, [b]", "b"]
        );
        assert_eq!(parse("{'0': 'a'}").unwrap(), ["a"]);
        assert_eq!(parse("{}").unwrap(), Vec::<String>::new());
    }

    #[test]
    fn what_is_neither_is_refused() {
        for bad in [
            "",
            "person",
            "{0: person}",
            "{0: 'a' 1: 'b'}",
            "{x: 'a'}",
            "['a",
            "{99999999999: 'a'}",
            "{10000: 'a'}",
            "{-1: 'a'}",
            "{0: {0: 'a'}}",
            "[['a']]",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_hostile_models_names_are_few_short_and_harmless() {
        let list = |count| format!("[{}]", "'a',".repeat(count));
        assert_eq!(parse(&list(MAX_CLASSES)).unwrap().len(), MAX_CLASSES);
        assert_eq!(parse(&list(MAX_CLASSES + 1)), None);
        assert_eq!(parse(&format!("['{}']", "x".repeat(MAX_TEXT))), None);
        let names = parse("['\x1b[2J\r\nERROR', 'x\u{202e}y', '\\\\']").unwrap();
        assert_eq!(names, ["\\u{1b}[2J\\r\\nERROR", "x\\u{202e}y", "\\\\"]);
        let long = parse(&format!("['{}']", "x".repeat(1000))).unwrap();
        assert_eq!(long[0], "x".repeat(MAX_NAME) + "..");
    }

    #[test]
    fn a_hostile_models_names_are_parsed_in_linear_time() {
        let start = std::time::Instant::now();
        for text in [
            format!("{{{}", "0:'a',".repeat(300_000)),
            format!("{{{}", " ".repeat(MAX_TEXT - 1)),
            format!("['{}", "\\'".repeat(MAX_TEXT / 2 - 2)),
            format!("{{{}:''}}", "0".repeat(MAX_TEXT - 10)),
        ] {
            let _ = parse(&text);
            let _ = parse(&format!("{text}}}"));
        }
        assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
    }

    #[test]
    fn eighty_classes_without_names_are_cocos_and_others_are_numbered() {
        assert_eq!(complete(None, 80)[79], "toothbrush");
        assert_eq!(complete(None, 2), ["class 0", "class 1"]);
        assert_eq!(complete(Some(vec!["a".into()]), 2), ["a", "class 1"]);
        assert_eq!(complete(parse("{1: 'b'}"), 2), ["class 0", "b"]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2048))]

        #[test]
        fn any_text_gives_harmless_names_or_none(text in r#"(any|[0-9]{1,5}|[:,'"\\{}\[\] ]|.){0,60}"#) {
            for text in [text.clone(), format!("{{{text}}}"), format!("[{text}]")] {
                for name in parse(&text).unwrap_or_default() {
                    prop_assert!(!name.contains(is_hidden), "{name:?}");
                    prop_assert!(name.chars().count() <= MAX_NAME + 2);
                }
            }
        }
    }
}
