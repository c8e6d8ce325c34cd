//! The names of a model's classes, as exporters and people write them into its metadata.
//!
//! YOLOv5 and its successors write Python's `str()` of a dict (`{0: 'person', 1: 'bicycle'}`) or, from older checkpoints, of
//! a list (`['person', 'bicycle']`); other tools write JSON. No parser reads both, so this file has one for both at once.
//! Where a data set was described in YAML, names are also numbers, `True` (from `yes`) and `None`. A model may be of
//! anyone's making, so text, number and length of the names are bounded, and what a terminal would obey is escaped. Without
//! names, 80 classes are COCO's, in which all of YOLOv5's own weights are trained.

use protocol::text::printable;

/// Number of a model's classes, at most, above any detector's: without a bound a hostile key would decide how much memory
/// is taken.
pub const MAX_CLASSES: usize = 10_000;
/// Length of the longest name in characters: names are drawn beside boxes.
pub const MAX_NAME: usize = 64;
/// Length of the longest metadata that is parsed, in bytes: that of the most names of three bytes a character.
const MAX_TEXT: usize = MAX_CLASSES * MAX_NAME * 3;
/// Words that are values, in Python and in JSON.
const WORDS: [&str; 6] = ["True", "False", "None", "true", "false", "null"];

/// Parses the `names` metadata into names by class number, each on one line and cut to [`MAX_NAME`] characters; `None` if it
/// is none of the forms, or too long.
pub fn parse(text: &str) -> Option<Vec<String>> {
    if text.len() > MAX_TEXT {
        return None;
    }
    let mut text = Text(text);
    let close = match text.next()? {
        '[' => ']',
        '(' => ')',
        '{' => '}',
        _ => return None,
    };
    let mut names = Vec::new();
    while !text.take(close) {
        let (number, name) = match close {
            '}' => text.entry()?,
            _ => (names.len(), text.value()?.into_text()),
        };
        if number >= MAX_CLASSES {
            return None;
        }
        if names.len() <= number {
            names.resize(number + 1, String::new());
        }
        names[number] = shown(&name);
        if !text.take(',') && !text.starts_with(close) {
            return None;
        }
    }
    text.is_empty().then_some(names)
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

/// Returns a name as it is shown. Spaces of any kind, such as one that must not break, become ordinary ones, and spaces
/// without width are left out: they cannot be seen, nor typed after `--classes`.
fn shown(name: &str) -> String {
    let without_width = ['\u{ad}', '\u{200b}', '\u{2060}', '\u{feff}'];
    let visible = name.chars().filter(|c| !without_width.contains(c));
    let space = |c: char| {
        if c.is_whitespace() && !c.is_control() {
            ' '
        } else {
            c
        }
    };
    let plain: String = visible.map(space).collect();
    printable(plain.trim(), MAX_NAME)
}

/// The text that is not parsed yet. Space before what is parsed does not count.
#[derive(Debug)]
struct Text<'a>(&'a str);

/// A string, or a number or word.
#[derive(Debug)]
enum Value<'a> {
    String(String),
    Bare(&'a str),
}

impl Value<'_> {
    fn into_text(self) -> String {
        match self {
            Self::String(text) => text,
            Self::Bare(text) => text.to_owned(),
        }
    }

    /// Returns a whole number, which keys also write as a string.
    fn number(&self) -> Option<usize> {
        match self {
            Self::String(text) => text.trim().parse().ok(),
            Self::Bare(text) => text.parse().ok(),
        }
    }
}

impl<'a> Text<'a> {
    /// Parses `number: name`, or `name: number`.
    fn entry(&mut self) -> Option<(usize, String)> {
        let key = self.value()?;
        if !self.take(':') {
            return None;
        }
        let value = self.value()?;
        match (key.number(), &key, &value) {
            (Some(number), ..) => Some((number, value.into_text())),
            (None, Value::String(_), Value::Bare(_)) => Some((value.number()?, key.into_text())),
            _ => None,
        }
    }

    fn value(&mut self) -> Option<Value<'a>> {
        self.0 = self.0.trim_start();
        // Python 2's mark of Unicode.
        let unicode = self
            .0
            .strip_prefix('u')
            .filter(|rest| rest.starts_with(['\'', '"']));
        self.0 = unicode.unwrap_or(self.0);
        if self.0.starts_with(['\'', '"']) {
            return self.string().map(Value::String);
        }
        let end = self
            .0
            .find(|c: char| !c.is_ascii_alphanumeric() && !"+-.".contains(c));
        let (bare, rest) = self.0.split_at(end.unwrap_or(self.0.len()));
        self.0 = rest;
        let is_value = WORDS.contains(&bare) || bare.parse::<f64>().is_ok_and(f64::is_finite);
        is_value.then_some(Value::Bare(bare))
    }

    /// Parses a string literal of Python or JSON.
    fn string(&mut self) -> Option<String> {
        let quote = self.next()?;
        let mut text = String::new();
        loop {
            let mut chars = self.0.chars();
            let c = chars.next()?;
            self.0 = chars.as_str();
            match c {
                '\\' => text.push(self.escape()?),
                c if c == quote => return Some(text),
                c => text.push(c),
            }
        }
    }

    /// Parses what follows a backslash.
    fn escape(&mut self) -> Option<char> {
        let mut chars = self.0.chars();
        let c = chars.next()?;
        self.0 = chars.as_str();
        let code = match c {
            'n' => return Some('\n'),
            't' => return Some('\t'),
            'r' => return Some('\r'),
            'x' => self.digits(2)?,
            'U' => self.digits(8)?,
            'u' => match self.digits(4)? {
                high @ 0xd800..0xdc00 => self.low_surrogate(high),
                code => code,
            },
            other => return Some(other),
        };
        Some(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    /// Joins JSON's two halves of a character beyond 16 bits.
    fn low_surrogate(&mut self, high: u32) -> u32 {
        let before = self.0;
        let low = self.0.strip_prefix("\\u").and_then(|rest| {
            self.0 = rest;
            self.digits(4)
        });
        match low {
            Some(low @ 0xdc00..0xe000) => 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00),
            _ => {
                self.0 = before;
                high
            }
        }
    }

    /// Parses exactly so many hexadecimal digits.
    fn digits(&mut self, count: usize) -> Option<u32> {
        let (digits, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        let hexadecimal = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        hexadecimal
            .then(|| u32::from_str_radix(digits, 16).ok())
            .flatten()
    }

    fn next(&mut self) -> Option<char> {
        let mut chars = self.0.trim_start().chars();
        let c = chars.next();
        self.0 = chars.as_str();
        c
    }

    fn starts_with(&mut self, c: char) -> bool {
        self.0 = self.0.trim_start();
        self.0.starts_with(c)
    }

    /// Skips a character if it comes next.
    fn take(&mut self, c: char) -> bool {
        let is = self.starts_with(c);
        if is {
            self.0 = &self.0[c.len_utf8()..];
        }
        is
    }

    fn is_empty(&self) -> bool {
        self.0.trim().is_empty()
    }
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
    fn names_are_read_as_people_write_them() {
        for (text, names) in [
            ("{0: 7, 1: 3.5, 2: -1}", &["7", "3.5", "-1"][..]),
            ("[0, 1, 2]", &["0", "1", "2"]),
            ("{0: True, 1: False, 2: None}", &["True", "False", "None"]),
            ("[true, null]", &["true", "null"]),
            (
                r"{0: 'traffic\xa0light', 1: 'cat\u200b', 2: 'dog\'s'}",
                &["traffic light", "cat", "dog's"],
            ),
            (
                "['traffic\u{a0}light', '\u{feff}cat', ' dog ']",
                &["traffic light", "cat", "dog"],
            ),
            (
                r"['\u4eba', '\U0001f431', 'caf\xe9', 'a\\b']",
                &["人", "🐱", "café", r"a\\b"],
            ),
            (
                r#"{"0": "person", "1": "\ud83d\udc31", "2": "a\/b"}"#,
                &["person", "🐱", "a/b"],
            ),
            (
                r#"["\ud83d", "\ud83dx", "\ud83d\u0041"]"#,
                &["\u{fffd}", "\u{fffd}x", "\u{fffd}A"],
            ),
            ("{\n  \"0\": \"a\",\n  \"1\": \"b\"\n}\n", &["a", "b"]),
            ("{0: 'a', 1: 'b', }", &["a", "b"]),
            ("('a', 'b')", &["a", "b"]),
            ("[u'a', u\"b\"]", &["a", "b"]),
            ("{'cat': 0, 'dog': 1}", &["cat", "dog"]),
            ("{0: '人', 1: '自行车'}", &["人", "自行车"]),
            ("{0: '', 1: 'b'}", &["", "b"]),
        ] {
            assert_eq!(parse(text).unwrap(), names, "{text}");
        }
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
            "{'a': 'b'}",
            "{'a': 0.5}",
            "{True: 'a'}",
            "[yes]",
            "[inf, nan]",
            r"['\xg0']",
            r"['\u12']",
            "['a'] trailing",
            "['a',,'b']",
            "['a'}",
            "[,]",
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
