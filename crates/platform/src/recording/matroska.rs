//! Matroska with one track of JPEGs (RFC 9559), as a stream that nothing comes back to: each picture is a cluster of its own,
//! so what was written until a program or a machine dies is a whole file. Pure.

use std::time::Duration;

use protocol::geometry::Size;

/// Element ids of EBML (RFC 8794, section 11) and Matroska (RFC 9559, section 5).
mod id {
    pub(super) const EBML: u32 = 0x1A45_DFA3;
    pub(super) const EBML_VERSION: u32 = 0x4286;
    pub(super) const EBML_READ_VERSION: u32 = 0x42F7;
    pub(super) const EBML_MAX_ID_LENGTH: u32 = 0x42F2;
    pub(super) const EBML_MAX_SIZE_LENGTH: u32 = 0x42F3;
    pub(super) const DOC_TYPE: u32 = 0x4282;
    pub(super) const DOC_TYPE_VERSION: u32 = 0x4287;
    pub(super) const DOC_TYPE_READ_VERSION: u32 = 0x4285;
    pub(super) const SEGMENT: u32 = 0x1853_8067;
    pub(super) const INFO: u32 = 0x1549_A966;
    pub(super) const TIMESTAMP_SCALE: u32 = 0x2A_D7B1;
    pub(super) const MUXING_APP: u32 = 0x4D80;
    pub(super) const WRITING_APP: u32 = 0x5741;
    pub(super) const TRACKS: u32 = 0x1654_AE6B;
    pub(super) const TRACK_ENTRY: u32 = 0xAE;
    pub(super) const TRACK_NUMBER: u32 = 0xD7;
    pub(super) const TRACK_UID: u32 = 0x73C5;
    pub(super) const TRACK_TYPE: u32 = 0x83;
    pub(super) const FLAG_LACING: u32 = 0x9C;
    pub(super) const CODEC_ID: u32 = 0x86;
    pub(super) const VIDEO: u32 = 0xE0;
    pub(super) const PIXEL_WIDTH: u32 = 0xB0;
    pub(super) const PIXEL_HEIGHT: u32 = 0xBA;
    pub(super) const CLUSTER: u32 = 0x1F43_B675;
    pub(super) const TIMESTAMP: u32 = 0xE7;
    pub(super) const SIMPLE_BLOCK: u32 = 0xA3;
}

/// A size that is not known: the element goes on to the end of the stream.
const UNKNOWN_SIZE: [u8; 8] = [0x01, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];
/// Nanoseconds of a tick of the time stamps: they are milliseconds.
const TICK: u64 = 1_000_000;
const VIDEO_TRACK: u8 = 1;
const NAME: &[u8] = b"Sightline";

/// Returns the beginning of the stream, for pictures of this size.
pub(super) fn header(size: Size) -> Vec<u8> {
    let ebml = [
        number(id::EBML_VERSION, 1),
        number(id::EBML_READ_VERSION, 1),
        number(id::EBML_MAX_ID_LENGTH, 4),
        number(id::EBML_MAX_SIZE_LENGTH, 8),
        element(id::DOC_TYPE, b"matroska"),
        number(id::DOC_TYPE_VERSION, 4),
        number(id::DOC_TYPE_READ_VERSION, 2),
    ];
    let info = [
        number(id::TIMESTAMP_SCALE, TICK),
        element(id::MUXING_APP, NAME),
        element(id::WRITING_APP, NAME),
    ];
    let video = [
        number(id::PIXEL_WIDTH, size.width.into()),
        number(id::PIXEL_HEIGHT, size.height.into()),
    ];
    let track = [
        number(id::TRACK_NUMBER, VIDEO_TRACK.into()),
        number(id::TRACK_UID, 1),
        number(id::TRACK_TYPE, 1),
        number(id::FLAG_LACING, 0),
        element(id::CODEC_ID, b"V_MJPEG"),
        element(id::VIDEO, &video.concat()),
    ];
    let mut out = element(id::EBML, &ebml.concat());
    out.extend(id_bytes(id::SEGMENT));
    out.extend(UNKNOWN_SIZE);
    out.extend(element(id::INFO, &info.concat()));
    out.extend(element(
        id::TRACKS,
        &element(id::TRACK_ENTRY, &track.concat()),
    ));
    out
}

/// Returns a picture, to be shown from this time on.
pub(super) fn picture(jpeg: &[u8], at: Duration) -> Vec<u8> {
    const KEY_FRAME: u8 = 0x80;
    let millis = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
    // The block's time is relative to its cluster's.
    let block = [&[0x80 | VIDEO_TRACK, 0, 0, KEY_FRAME], jpeg].concat();
    let cluster = [
        number(id::TIMESTAMP, millis),
        element(id::SIMPLE_BLOCK, &block),
    ];
    element(id::CLUSTER, &cluster.concat())
}

fn element(id: u32, body: &[u8]) -> Vec<u8> {
    // Eight bytes hold any size (RFC 8794, section 4).
    let size = (1 << 56) | body.len() as u64;
    [&id_bytes(id)[..], &size.to_be_bytes(), body].concat()
}

fn number(id: u32, value: u64) -> Vec<u8> {
    element(id, &value.to_be_bytes())
}

/// Returns an id as it is written: its first byte tells its length.
fn id_bytes(id: u32) -> Vec<u8> {
    let bytes = id.to_be_bytes();
    bytes.into_iter().skip_while(|byte| *byte == 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_written_as_the_standard_has_them() {
        assert_eq!(
            number(id::TRACK_NUMBER, 3),
            [0xD7, 1, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 3]
        );
        let header = header("640x480".parse().unwrap());
        assert!(header.starts_with(&[0x1A, 0x45, 0xDF, 0xA3, 1]));
        let picture = picture(b"jpeg", Duration::from_millis(0x0102));
        assert!(picture.starts_with(&[0x1F, 0x43, 0xB6, 0x75, 1]));
        assert!(picture.ends_with(b"\x81\0\0\x80jpeg"));
        assert!(picture.windows(2).any(|bytes| bytes == [1, 2]));
    }
}
