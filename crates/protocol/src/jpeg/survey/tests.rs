use testkit::jpeg::bombs::{self, Forged};

use super::*;
use crate::jpeg::scan;

fn verdict(jpeg: &[u8]) -> Result<(), Defect> {
    scan(jpeg, Limits::NETWORK).map(drop)
}

fn block_scans(jpeg: &Forged) -> u64 {
    Survey::of(&jpeg.bytes()).unwrap().block_scans
}

#[test]
fn pictures_that_keep_a_decoder_busy_are_refused() {
    for (name, bomb) in bombs::costly() {
        assert!(bomb.len() < 65_507, "{name}");
        assert_eq!(verdict(&bomb), Err(Defect::DecodingCost), "{name}");
    }
}

#[test]
fn data_pays_for_two_million_block_scans_and_no_more() {
    // A scan of these is 262 144 block-scans.
    let grey = |scans: usize| {
        Forged::new(0xC2, (4096, 4096), &[0x11])
            .scan(&[1], [0, 0, 0], &[0; 200_000])
            .scans(scans - 1, &[1], [0, 0, 0x10], &[])
    };
    assert_eq!(verdict(&grey(7).bytes()), Ok(()));
    assert_eq!(verdict(&grey(8).bytes()), Err(Defect::DecodingCost));
}

#[test]
fn a_picture_that_may_have_to_be_turned_costs_more() {
    let with = |exif: &[u8], size| {
        Forged::new(0xC0, size, &[0x11])
            .segments(APP1, exif, 1)
            .scan(&[1], [0, 63, 0], &[0; 65_536])
            .bytes()
    };
    let largest = (4096, 4096);
    assert_eq!(verdict(&with(b"http://ns.adobe.com/", largest)), Ok(()));
    assert_eq!(
        verdict(&with(b"Exif\0\0MM", largest)),
        Err(Defect::DecodingCost)
    );
    assert_eq!(verdict(&with(b"Exif\0\0MM", (1920, 1080))), Ok(()));
}

#[test]
fn codings_and_components_that_no_camera_uses_are_refused() {
    let verdicts = bombs::unusual().into_iter().map(|(_, jpeg)| verdict(&jpeg));
    let expected = [
        Defect::Arithmetic,
        Defect::Arithmetic,
        Defect::Coding,
        Defect::Components,
    ];
    assert!(verdicts.eq(expected.map(Err)));
}

#[test]
fn thousands_of_segments_are_refused_and_a_label_adds_none() {
    for (name, jpeg) in bombs::many_segments() {
        assert_eq!(verdict(&jpeg), Err(Defect::Segments), "{name}");
    }
    // Five more are the picture's own.
    let with = |count| {
        Forged::new(0xC0, (8, 8), &[0x11])
            .segments(0xE1, b"", count)
            .scan(&[1], [0, 63, 0], &[0])
    };
    assert_eq!(
        verdict(&with(507).segments(APP11, b"label", 9).bytes()),
        Ok(())
    );
    assert_eq!(verdict(&with(508).bytes()), Err(Defect::Segments));
}

#[test]
fn a_scan_costs_the_blocks_of_the_components_that_it_codes() {
    let colour = || Forged::new(0xC2, (32, 32), &[0x22, 0x11, 0x11]);
    assert_eq!(
        block_scans(&colour().scan(&[1, 2, 3], [0, 0, 0], &[])),
        16 + 4 + 4
    );
    assert_eq!(block_scans(&colour().scan(&[1], [1, 5, 0], &[])), 16);
    assert_eq!(
        block_scans(
            &colour()
                .scan(&[2], [1, 5, 0], &[])
                .scan(&[3, 1], [0, 0, 0], &[])
        ),
        4 + 4 + 16
    );
}

#[test]
fn blocks_are_counted_in_whole_mcus() {
    let one = |size, sampling: &[u8]| {
        let ids = &[1, 2, 3][..sampling.len()];
        block_scans(&Forged::new(0xC0, size, sampling).scan(ids, [0, 63, 0], &[]))
    };
    assert_eq!(one((1, 1), &[0x11]), 1);
    assert_eq!(one((17, 9), &[0x22, 0x11, 0x11]), 2 * 6);
    assert_eq!(one((1, 1), &[0x44, 0x11, 0x11]), 18);
    assert_eq!(one((4096, 4096), &[0x22, 0x11, 0x11]), 393_216);
    assert_eq!(one((65_535, 65_535), &[0x44, 0x44, 0x44]), 3 * 8192 * 8192);
}

#[test]
fn a_frame_header_or_a_scan_that_no_decoder_takes_is_refused() {
    let scan = |jpeg: Forged| jpeg.scan(&[1], [0, 63, 0], &[0; 16]).bytes();
    let grey = || Forged::new(0xC0, (8, 8), &[0x11]);
    for factors in [0x01, 0x10, 0x51, 0x15, 0xFF] {
        let jpeg = Forged::new(0xC0, (8, 8), &[factors]);
        assert_eq!(
            verdict(&scan(jpeg)),
            Err(Defect::NoFrameHeader),
            "{factors:x}"
        );
    }
    assert_eq!(
        verdict(&scan(Forged::new(0xC0, (8, 8), &[]))),
        Err(Defect::NoFrameHeader)
    );
    // A second one, of another size; a height behind the data; components that are not there, or twice
    let second = [0xFF, 0xC0, 0, 11, 8, 0x10, 0, 0x10, 0, 1, 1, 0x11, 0];
    let height = [0xFF, DNL, 0, 4, 0x10, 0];
    for more in [&second[..], &height] {
        let jpeg = grey().scan(&[1], [0, 63, 0], &[0]).raw(more);
        assert_eq!(verdict(&scan(jpeg)), Err(Defect::Structure), "{more:x?}");
    }
    for components in [&[2][..], &[], &[1, 1], &[1; 5]] {
        let jpeg = grey().scan(components, [0, 63, 0], &[0]);
        assert_eq!(
            verdict(&jpeg.bytes()),
            Err(Defect::Structure),
            "{components:?}"
        );
    }
}

#[test]
fn components_that_all_have_one_id_are_found_in_turn() {
    let mut jpeg = bombs::flat(16, 16);
    let sof = jpeg
        .windows(2)
        .position(|pair| pair == [0xFF, 0xC0])
        .unwrap();
    let sos = jpeg
        .windows(2)
        .position(|pair| pair == [0xFF, SOS])
        .unwrap();
    for id in [sof + 10, sof + 13, sof + 16, sos + 5, sos + 7, sos + 9] {
        jpeg[id] = 0;
    }
    assert_eq!(verdict(&jpeg), Ok(()));
    assert_eq!(Survey::of(&jpeg).unwrap().block_scans, 6);
}

#[test]
fn scans_are_counted_that_a_decoder_finds_behind_damage() {
    // A reserved marker whose length would hide them, at which libjpeg looks for the next restart marker; and a length
    // below 2, which it takes for 2.
    let scan = Forged::new(0xC2, (4096, 4096), &[0x11]).scans(40, &[1], [0, 0, 0], &[]);
    let scans = &scan.bytes()[..];
    let scans = &scans[scans.len() - 2 - 40 * 10..scans.len() - 2];
    let hidden = |damage: &[u8]| {
        Forged::new(0xC2, (4096, 4096), &[0x11])
            .segments(0xDD, &[0, 1], 1)
            .scan(&[1], [0, 0, 0], &[0; 33_000])
            .raw(damage)
            .raw(scans)
            .bytes()
    };
    assert_eq!(
        verdict(&hidden(&[0xFF, 0x02, 0xFF, 0xFF, 0xFF, 0xD0])),
        Err(Defect::DecodingCost)
    );
    assert_eq!(
        verdict(&hidden(&[0xFF, 0xE3, 0, 1])),
        Err(Defect::Structure)
    );
}

#[test]
fn damage_in_the_picture_data_is_left_to_the_decoder() {
    let whole = bombs::flat(300, 200);
    let cut = &whole[..whole.len() - 100];
    assert_eq!(verdict(&[cut, &[0xFF, 0xD9]].concat()), Ok(()));
    assert_eq!(verdict(&[cut, &whole].concat()), Ok(()));
    assert_eq!(
        verdict(&[cut, &[0xFF, 0x55, 9, 9, 0xFF, 0xD9]].concat()),
        Ok(())
    );
}

#[test]
fn ones_own_pictures_may_be_larger_and_of_any_coding() {
    let own = |jpeg: &[u8]| scan(jpeg, Limits::OWN).map(|size| size.to_string());
    assert_eq!(own(&bombs::flat(4608, 2592)), Ok("4608x2592".to_owned()));
    assert_eq!(
        own(&bombs::flat_progressive(9248, 6944)),
        Ok("9248x6944".to_owned())
    );
    assert_eq!(own(&bombs::flat(9601, 8)), Err(Defect::Dimensions));
    for (name, jpeg) in bombs::unusual() {
        let expected = if name == "lossless" {
            Err(Defect::Coding)
        } else {
            Ok("64x64".to_owned())
        };
        assert_eq!(own(&jpeg), expected, "{name}");
    }
}

#[test]
fn the_walk_looks_at_each_byte_about_once() {
    let all = bombs::costly().into_iter().chain(bombs::many_segments());
    for (name, jpeg) in all {
        let visited = Survey::of(&jpeg).unwrap().visited;
        assert!(
            visited <= 2 * jpeg.len() as u64,
            "{name}: {visited} of {}",
            jpeg.len()
        );
    }
}
