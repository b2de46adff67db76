//! Pictures that the encoder makes itself: a canvas on I420 memory, letters, and scenes.
//!
//! Owns drawing. Does not own buffers, clocks or timing: whoever paints brings
//! memory and time along. Drawing outside of the picture is cut off, never an error.

mod font;
mod scene;
pub mod timecode;

pub(crate) use scene::{Moment, Scene, SceneKind};

/// A colour: luma and both chroma values, in video range.
pub(crate) type Colour = [u8; 3];

/// Memory layout of an I420 picture.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub(crate) width: usize,
    pub(crate) height: usize,
    /// Bytes per line of each plane.
    pub(crate) strides: [usize; 3],
    /// Where each plane starts.
    pub(crate) offsets: [usize; 3],
}

/// A rectangle of pixels; parts outside of the picture are cut off.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Area {
    x: usize,
    y: usize,
    width: usize,
    height: usize,
}

/// The rectangle with this top left corner and size.
pub(crate) fn area(x: usize, y: usize, width: usize, height: usize) -> Area {
    Area { x, y, width, height }
}

/// An I420 picture to draw on.
pub(crate) struct Canvas<'a> {
    memory: &'a mut [u8],
    layout: Layout,
}

impl<'a> Canvas<'a> {
    /// `memory` holds all three planes as `layout` says.
    pub(crate) fn new(memory: &'a mut [u8], layout: Layout) -> Self {
        Self { memory, layout }
    }

    pub(crate) fn width(&self) -> usize {
        self.layout.width
    }

    pub(crate) fn height(&self) -> usize {
        self.layout.height
    }

    /// Replaces the whole picture by another of the same layout.
    pub(crate) fn copy_from(&mut self, picture: &[u8]) {
        let length = self.memory.len().min(picture.len());
        self.memory[..length].copy_from_slice(&picture[..length]);
    }

    /// One line of luma.
    pub(crate) fn luma_line(&mut self, y: usize) -> &mut [u8] {
        self.line(0, y, 0, self.layout.width)
    }

    /// One line of the chroma planes, which have half the height; both have half the width.
    pub(crate) fn chroma_line(&mut self, plane: usize, y: usize) -> &mut [u8] {
        self.line(plane, y, 0, self.layout.width / 2)
    }

    fn line(&mut self, plane: usize, y: usize, from: usize, to: usize) -> &mut [u8] {
        let start = self.layout.offsets[plane] + y * self.layout.strides[plane];
        &mut self.memory[start + from..start + to]
    }

    /// A filled rectangle; chroma covers whole pairs of pixels.
    pub(crate) fn fill(&mut self, area: Area, colour: Colour) {
        let Area { x, y, width, height } = area;
        let right = (x + width).min(self.layout.width);
        let bottom = (y + height).min(self.layout.height);
        if x >= right {
            return;
        }
        for row in y..bottom {
            self.line(0, row, x, right).fill(colour[0]);
        }
        for row in y / 2..bottom.div_ceil(2).min(self.layout.height / 2) {
            self.line(1, row, x / 2, right.div_ceil(2)).fill(colour[1]);
            self.line(2, row, x / 2, right.div_ceil(2)).fill(colour[2]);
        }
    }

    /// A line of text; each dot of a letter is a square of `scale` pixels. Unknown characters are left blank.
    pub(crate) fn text(&mut self, (x, y): (usize, usize), scale: usize, text: &str, colour: Colour) {
        for (index, character) in text.chars().enumerate() {
            let left = x + index * font::ADVANCE * scale;
            for (row, bits) in font::glyph(character).into_iter().enumerate() {
                for column in (0..font::WIDTH).filter(|column| bits >> (font::WIDTH - 1 - column) & 1 == 1) {
                    self.fill(area(left + column * scale, y + row * scale, scale, scale), colour);
                }
            }
        }
    }

    /// Text in the middle of a line, on a plate; never wider than the picture. Gives the plate's bottom.
    pub(crate) fn plate(&mut self, y: usize, largest_scale: usize, text: &str, colours: [Colour; 2]) -> usize {
        let characters = text.chars().count().max(1);
        let scale = largest_scale.min(self.layout.width / ((characters + 1) * font::ADVANCE)).max(1);
        let text_width = characters * font::ADVANCE * scale;
        let x = self.layout.width.saturating_sub(text_width) / 2;
        let margin = 2 * scale;
        let height = font::HEIGHT * scale + 2 * margin;
        self.fill(area(x.saturating_sub(margin), y, text_width + margin, height), colours[0]);
        self.text((x, y + margin), scale, text, colours[1]);
        y + height
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A picture in memory, planes apart for easy looking at.
    #[derive(Clone)]
    pub(crate) struct Picture {
        pub(crate) luma: Vec<u8>,
        pub(crate) width: usize,
        pub(crate) memory: Vec<u8>,
        pub(crate) layout: Layout,
    }

    impl Picture {
        pub(crate) fn new(width: usize, height: usize) -> Self {
            let (luma, chroma) = (width * height, width * height / 4);
            let layout =
                Layout { width, height, strides: [width, width / 2, width / 2], offsets: [0, luma, luma + chroma] };
            Self { luma: vec![0; luma], width, memory: vec![0; luma + 2 * chroma], layout }
        }

        pub(crate) fn paint(&mut self, draw: impl FnOnce(&mut Canvas<'_>)) {
            draw(&mut Canvas::new(&mut self.memory, self.layout));
            self.luma.copy_from_slice(&self.memory[..self.layout.offsets[1]]);
        }
    }

    #[test]
    fn drawing_outside_is_cut_off() {
        let mut picture = Picture::new(160, 90);
        picture.paint(|canvas| {
            canvas.fill(area(150, 80, 100, 100), [200, 1, 2]);
            canvas.fill(area(1000, 1000, 10, 10), [255, 1, 2]);
            canvas.text((100, 85), 4, "WIDE TEXT THAT LEAVES THE PICTURE", [100, 3, 4]);
        });
        assert_eq!(picture.luma[82 * 160 + 155], 200);
        assert_eq!(picture.luma[0], 0);
    }

    #[test]
    fn letters_differ_from_each_other() {
        let draw = |text: &str| {
            let mut picture = Picture::new(64, 16);
            picture.paint(|canvas| canvas.text((0, 0), 1, text, [235, 128, 128]));
            picture.luma
        };
        let known: Vec<char> = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:.-/ ".chars().collect();
        for (index, one) in known.iter().enumerate() {
            for other in &known[index + 1..] {
                assert_ne!(draw(&one.to_string()), draw(&other.to_string()), "{one} and {other}");
            }
        }
        assert_eq!(draw("a"), draw("A"), "small letters are drawn as capitals");
    }
}
