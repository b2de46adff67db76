//! The machine-readable strip of the test pattern: when a frame was made, and which one it is.
//!
//! Owns writer and reader of the format in `docs/device/test-pattern.md`. Does
//! not own the pattern around it, nor where the time comes from.

use super::{Canvas, area};

/// Cells in the strip.
pub const CELLS: usize = 70;
const TIME_BITS: usize = 42;
const COUNTER_BITS: usize = 20;
const BLACK: u8 = 16;
const WHITE: u8 = 235;

/// What a strip says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timecode {
    /// Wall clock when the frame was made, milliseconds since 1970-01-01 UTC; 42 bits.
    pub unix_ms: u64,
    /// Frames since the source started, modulo 2^20.
    pub counter: u32,
}

/// Side of one cell in pixels, for a picture of this width.
#[must_use]
pub fn cell_side(width: usize) -> usize {
    (width / 72 / 2 * 2).max(4)
}

impl Timecode {
    fn cells(self) -> [bool; CELLS] {
        let mut cells = [false; CELLS];
        cells[0] = true;
        put_bits(&mut cells[2..2 + TIME_BITS], self.unix_ms);
        put_bits(&mut cells[2 + TIME_BITS..2 + TIME_BITS + COUNTER_BITS], u64::from(self.counter));
        let checksum = checksum(&cells);
        put_bits(&mut cells[64..66], checksum);
        put_bits(&mut cells[66..68], checksum);
        cells[69] = true;
        cells
    }

    fn from_cells(cells: &[bool; CELLS]) -> Option<Self> {
        let marks = cells[0] && !cells[1] && !cells[68] && cells[69];
        let sum = checksum(cells);
        if !marks || get_bits(&cells[64..66]) != sum || get_bits(&cells[66..68]) != sum {
            return None;
        }
        let unix_ms = get_bits(&cells[2..2 + TIME_BITS]);
        let counter = get_bits(&cells[2 + TIME_BITS..2 + TIME_BITS + COUNTER_BITS]);
        Some(Self { unix_ms, counter: u32::try_from(counter).expect("20 bits fit") })
    }

    /// Reads the strip from a luma plane; none when there is none, or a damaged one.
    #[must_use]
    pub fn read(luma: &[u8], stride: usize, width: usize) -> Option<Self> {
        let side = cell_side(width);
        if side * CELLS > width {
            return None;
        }
        let mut cells = [false; CELLS];
        for (index, cell) in cells.iter_mut().enumerate() {
            *cell = *luma.get(side / 2 * stride + index * side + side / 2)? > 128;
        }
        Self::from_cells(&cells)
    }
}

/// Paints the strip; on a picture narrower than [`CELLS`] cells nothing is painted, for nobody could read it.
pub(crate) fn write(canvas: &mut Canvas<'_>, timecode: Timecode) {
    let side = cell_side(canvas.width());
    if side * CELLS > canvas.width() {
        return;
    }
    for (index, &on) in timecode.cells().iter().enumerate() {
        canvas.fill(area(index * side, 0, side, side), [if on { WHITE } else { BLACK }, 128, 128]);
    }
}

fn put_bits(cells: &mut [bool], value: u64) {
    let bits = cells.len();
    for (index, cell) in cells.iter_mut().enumerate() {
        *cell = value >> (bits - 1 - index) & 1 == 1;
    }
}

fn get_bits(cells: &[bool]) -> u64 {
    cells.iter().fold(0, |value, &cell| value << 1 | u64::from(cell))
}

fn checksum(cells: &[bool; CELLS]) -> u64 {
    cells[2..64].chunks(2).fold(0, |sum, pair| sum ^ get_bits(pair))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::tests::Picture;

    #[test]
    fn what_is_written_is_read_at_every_width() {
        let widths = [280, 320, 640, 854, 1280, 1920, 3840];
        let times = [0, 1, 1_795_420_800_123, (1 << 42) - 1];
        for width in widths {
            for unix_ms in times {
                for counter in [0, 1, 0x5_5555, 0xF_FFFF] {
                    let timecode = Timecode { unix_ms, counter };
                    let mut picture = Picture::new(width, 180);
                    picture.paint(|canvas| write(canvas, timecode));
                    assert_eq!(Timecode::read(&picture.luma, picture.width, width), Some(timecode), "width {width}");
                }
            }
        }
    }

    #[test]
    fn sizes_are_those_of_the_document() {
        for (width, side) in [(160, 4), (320, 4), (640, 8), (854, 10), (1280, 16), (1920, 26), (3840, 52)] {
            assert_eq!(cell_side(width), side, "width {width}");
        }
    }

    #[test]
    fn the_layout_is_that_of_the_document() {
        // Time 1 is the last of its 42 bits (cell 43), counter 2 the last but one of its 20 (cell 62).
        let cells = Timecode { unix_ms: 1, counter: 2 }.cells();
        // Groups: cells 42–43 are 01, cells 62–63 are 10: exclusive or 11, twice.
        let on: Vec<usize> = (0..CELLS).filter(|&index| cells[index]).collect();
        assert_eq!(on, [0, 43, 62, 64, 65, 66, 67, 69]);
    }

    #[test]
    fn a_damaged_strip_is_not_read() {
        let mut picture = Picture::new(1280, 180);
        picture.paint(|canvas| write(canvas, Timecode { unix_ms: 1_795_420_800_123, counter: 77 }));
        for cell in 0..CELLS {
            let mut damaged = picture.clone();
            damaged.paint(|canvas| {
                let old = picture.luma[8 * 1280 + cell * 16 + 8];
                canvas.fill(area(cell * 16, 0, 16, 16), [if old > 128 { BLACK } else { WHITE }, 128, 128]);
            });
            assert_eq!(Timecode::read(&damaged.luma, 1280, 1280), None, "cell {cell}");
        }
    }

    #[test]
    fn a_picture_without_room_or_without_strip_gives_none() {
        let mut narrow = Picture::new(160, 90);
        narrow.paint(|canvas| write(canvas, Timecode { unix_ms: 1, counter: 1 }));
        assert_eq!(Timecode::read(&narrow.luma, 160, 160), None);
        assert_eq!(Timecode::read(&Picture::new(1280, 720).luma, 1280, 1280), None);
        assert_eq!(Timecode::read(&[], 1280, 1280), None);
    }
}
