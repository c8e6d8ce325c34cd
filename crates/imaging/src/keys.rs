//! Which key a code of OpenCV's windows stands for, on Latin and on Cyrillic keyboards. Pure.
//!
//! For letters and signs that ASCII has, the code is that sign. For all others it is the X11 keysym: those of Cyrillic
//! letters are `0x600` and the letter's byte in KOI8-U, in which capital letters follow small ones.

/// Keysyms of Cyrillic letters.
const CYRILLIC: std::ops::RangeInclusive<i32> = 0x6A0..=0x6FF;
/// The part of a code that is the keysym; above it GTK sets a bit for each modifier (Caps Lock, Num Lock).
const KEYSYM: i32 = 0xFFFF;
const ESCAPE: i32 = 0xFF1B;

/// Returns the key as a small Latin letter, sign or control character. A Cyrillic letter is the Latin one on the same key,
/// so that commands work on a keyboard that is switched to Cyrillic, with Caps Lock as without.
pub(crate) fn pressed(code: i32) -> Option<char> {
    let keysym = code & KEYSYM;
    match keysym {
        ESCAPE => Some('\x1b'),
        _ if CYRILLIC.contains(&keysym) => latin(keysym),
        _ => u8::try_from(keysym)
            .ok()
            .filter(u8::is_ascii)
            .map(|key| char::from(key.to_ascii_lowercase())),
    }
}

/// Returns the Latin letter on a Cyrillic letter's key (QWERTY and JCUKEN).
fn latin(keysym: i32) -> Option<char> {
    // Small letters are `0x6C0` to `0x6DF`, those of languages other than Russian `0x6A0` to `0x6AF`.
    let small = match keysym {
        0x6B0..=0x6BF => keysym - 0x10,
        0x6E0..=0x6FF => keysym - 0x20,
        small => small,
    };
    Some(match small {
        0x6CA => 'q',         // й
        0x6C3 => 'w',         // ц
        0x6D5 => 'e',         // у
        0x6CB => 'r',         // к
        0x6C5 => 't',         // е
        0x6CE => 'y',         // н
        0x6C7 => 'u',         // г
        0x6DB => 'i',         // ш
        0x6DD => 'o',         // щ
        0x6DA => 'p',         // з
        0x6C6 => 'a',         // ф
        0x6D9 | 0x6A6 => 's', // ы, and і of Ukrainian and Belarusian
        0x6D7 => 'd',         // в
        0x6C1 => 'f',         // а
        0x6D0 => 'g',         // п
        0x6D2 => 'h',         // р
        0x6CF => 'j',         // о
        0x6CC => 'k',         // л
        0x6C4 => 'l',         // д
        0x6D1 => 'z',         // я
        0x6DE => 'x',         // ч
        0x6D3 => 'c',         // с
        0x6CD => 'v',         // м
        0x6C9 => 'b',         // и
        0x6D4 => 'n',         // т
        0x6D8 => 'm',         // ь
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_known_on_latin_and_cyrillic_keyboards_small_and_capital() {
        let keys = [
            ('q', [0x6CA, 0x6EA]), // й, Й
            ('s', [0x6D9, 0x6F9]), // ы, Ы
            ('s', [0x6A6, 0x6B6]), // і, І
            ('r', [0x6CB, 0x6EB]), // к, К
            ('b', [0x6C9, 0x6E9]), // и, И
            ('h', [0x6D2, 0x6F2]), // р, Р
            ('f', [0x6C1, 0x6E1]), // а, А
            ('n', [0x6D4, 0x6F4]), // т, Т
        ];
        for (key, cyrillic) in keys {
            let latin = [key, key.to_ascii_uppercase()].map(|c| c as i32);
            for code in latin.into_iter().chain(cyrillic) {
                assert_eq!(pressed(code), Some(key), "{code:#x}");
                // Caps Lock and Num Lock, as GTK gives them.
                assert_eq!(pressed(code | 0x12_0000), Some(key), "{code:#x}");
            }
        }
        assert_eq!(pressed('?' as i32), Some('?'));
        assert_eq!([0x1B, ESCAPE].map(pressed), [Some('\x1b'); 2]);
    }

    #[test]
    fn a_key_without_a_letter_is_no_letter() {
        // Shift, the left arrow, F8, ё, the letter ü, and a dead key.
        for code in [0xFFE1, 0xFF51, 0xFFC5, 0x6A3, 0xFC, 0xFE57] {
            assert_eq!(pressed(code), None, "{code:#x}");
        }
    }

    #[test]
    fn the_letters_of_a_cyrillic_keyboard_are_the_26_of_a_latin_one() {
        let mut letters: Vec<_> = (0x6C0..=0x6DF).filter_map(pressed).collect();
        letters.sort_unstable();
        assert!(letters.into_iter().eq('a'..='z'));
    }
}
