//! Pixels of a screenshot.

use crate::common::{User, output_within};
use crate::stage::PATIENCE;
use libtest_mimic::Failed;
use std::path::Path;

/// Red, green and blue.
pub(crate) type Colour = [u8; 3];

/// What a screenshot shows.
#[derive(Debug)]
pub(crate) struct Picture {
    width: usize,
    pixels: Vec<Colour>,
}

impl Picture {
    /// Decodes a file of any usual kind.
    pub(crate) fn of(user: &User, path: impl AsRef<Path>) -> Result<Self, Failed> {
        // By its path: other programs are called convert, too.
        let mut convert = user.command("/usr/bin/convert");
        let decoded = output_within(PATIENCE, convert.arg(path.as_ref()).args(["-depth", "8", "ppm:-"]))?;
        decoded.exits(0)?;
        Self::parse(&decoded.stdout)
    }

    /// Takes a portable pixmap apart: `P6`, width, height and the greatest value, a newline, the pixels.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Failed> {
        let parts = || {
            let mut rest = bytes.strip_prefix(b"P6\n")?;
            let mut numbers = [0_usize; 3];
            for number in &mut numbers {
                let end = rest.iter().position(u8::is_ascii_whitespace)?;
                *number = std::str::from_utf8(&rest[..end]).ok()?.parse().ok()?;
                rest = &rest[end + 1..];
            }
            let [width, height, greatest] = numbers;
            let pixels: Vec<Colour> =
                rest.chunks_exact(3).map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect();
            (greatest == 255 && width > 0 && pixels.len() == width * height).then_some(Self { width, pixels })
        };
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(20)]).into_owned();
        parts().ok_or_else(|| format!("no picture: {} bytes, {shown:?}", bytes.len()).into())
    }

    /// How much of the picture, in hundredths, has this colour or one next to it.
    pub(crate) fn share(&self, colour: Colour) -> usize {
        let like = |pixel: &&Colour| pixel.iter().zip(colour).all(|(a, b)| a.abs_diff(b) <= 2);
        self.pixels.iter().filter(like).count() * 100 / self.pixels.len()
    }

    /// At least so much of the picture has this colour.
    pub(crate) fn shows(&self, colour: Colour, hundredths: usize) -> Result<(), Failed> {
        let share = self.share(colour);
        if share >= hundredths {
            Ok(())
        } else {
            Err(self.failure(&format!("{share} % of it is {colour:?}, not {hundredths}")))
        }
    }

    fn failure(&self, wrong: &str) -> Failed {
        let height = self.pixels.len() / self.width;
        let middle = self.pixels[height / 2 * self.width + self.width / 2];
        format!("a picture of {}x{height}, {middle:?} in its middle: {wrong}", self.width).into()
    }
}
