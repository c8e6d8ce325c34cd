//! Text of a peer, made safe to show: escaped and cut. Pure.
//!
//! A close reason, a header, a class name of a model or an error of a server is the other end's choice. Written as it is,
//! an escape sequence in it would move a terminal's cursor, a line feed would forge a line of the log, and a mebibyte of it
//! would fill the log.

/// Longest text of a peer in a log line, in characters: a sentence, and no page.
pub const MAX_SHOWN: usize = 200;
/// End of a text that was cut.
const CUT: &str = "..";

/// Returns a peer's text on one line, at most `max` characters of it and `..` where more follows.
///
/// Letters, digits, quotes and all that Rust prints in its own `Debug` stay as they are; control characters, characters that
/// change the direction of writing and backslashes are escaped as in Rust. An escape is never cut.
pub fn printable(text: &str, max: usize) -> String {
    let mut shown = String::new();
    let mut left = max;
    for c in text.chars() {
        let escaped: String = match c {
            c if c.is_alphanumeric() || matches!(c, '\'' | '"') => c.into(),
            c => c.escape_debug().collect(),
        };
        let length = escaped.chars().count();
        if length > left {
            shown.push_str(CUT);
            return shown;
        }
        left -= length;
        shown.push_str(&escaped);
    }
    shown
}

/// Returns whether a character is not seen where it stands, or changes what is seen around it: control characters, line
/// ends, changes of direction, zero widths and tags.
pub fn is_hidden(c: char) -> bool {
    let format = matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
    c.is_control() || format
}

/// Returns a peer's bytes as [`printable`] text; what is not UTF-8 becomes U+FFFD.
pub fn printable_bytes(bytes: &[u8], max: usize) -> String {
    // A character has at most four bytes, so what lies behind these is cut in any case; one more than fits shows the cut.
    let enough = bytes.len().min(max.saturating_add(1).saturating_mul(4));
    printable(&String::from_utf8_lossy(&bytes[..enough]), max)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escape_sequences_lines_and_directions_are_escaped_and_words_are_not() {
        assert_eq!(
            printable("the relay's \"Küche 東門\", 2 %", 99),
            "the relay's \"Küche 東門\", 2 %"
        );
        assert_eq!(
            printable("\x1b[2J\r\nERROR \u{202e}x\u{9b}\0\\", 99),
            "\\u{1b}[2J\\r\\nERROR \\u{202e}x\\u{9b}\\0\\\\"
        );
    }

    #[test]
    fn a_long_text_is_cut_between_its_characters() {
        assert_eq!(printable("abcdef", 6), "abcdef");
        assert_eq!(printable("abcdefg", 6), "abcdef..");
        assert_eq!(printable("abc\x1bdef", 6), "abc..", "no half of an escape");
        assert_eq!(printable("a", 0), "..");
        assert_eq!(printable_bytes(&[b'x'; 100], 6), "xxxxxx..");
        assert_eq!(printable_bytes(b"a\xff\nb", 9), "a\u{fffd}\\nb");
    }

    #[test]
    fn no_hidden_character_is_printed_as_it_is() {
        for c in ('\0'..=char::MAX).filter(|c| is_hidden(*c)) {
            let shown = printable(&c.to_string(), 20);
            assert!(shown.is_ascii() && shown.starts_with('\\'), "{c:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_one_short_line_without_control_characters(text in any::<String>(), max in 0usize..40) {
            for shown in [printable(&text, max), printable_bytes(text.as_bytes(), max)] {
                prop_assert!(!shown.contains(is_hidden), "{shown:?}");
                prop_assert!(shown.chars().count() <= max + CUT.len());
            }
        }
    }
}
