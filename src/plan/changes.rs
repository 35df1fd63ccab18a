//! Copy-on-write over a real directory: it is the lower dir of an overlay on its own place, and a layer of sbx's own has what
//! is written.
#![forbid(unsafe_code)]

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::error::PlanError;
use super::mount::{BindSource, ChangesLayer, MountOp, OverlayUpper};
use crate::host::Host;
use crate::profile::Origin;

/// Bytes of a directory's name that go into a layer's.
const LONGEST_STEM: usize = 60;

/// Filesystems of the kernel's own, which are no files to be written to a layer.
const KERNELS: [&str; 3] = ["/dev", "/proc", "/sys"];

/// An overlay over `directory`, with a new layer or the one that is named.
pub(super) fn overlay(
    directory: &Path,
    layer: Option<&str>,
    optional: bool,
    host: &Host,
    origin: &Origin,
) -> Result<MountOp, PlanError> {
    if KERNELS.iter().any(|kernels| directory.starts_with(kernels)) {
        return Err(PlanError::BadPath {
            path: directory.to_owned(),
            why: "what is there is the kernel's, and can't be laid over",
            origin: origin.clone(),
        });
    }
    let layers = host.layers().ok_or(PlanError::NoHome)?;
    let layer = match layer {
        Some(name) => ChangesLayer::Again(name.to_owned()),
        None => ChangesLayer::New(stem(directory)),
    };
    let upper = OverlayUpper::Changes { layers, layer, optional };
    Ok(MountOp::Overlay { lower: vec![BindSource::Path(directory.to_owned())], upper })
}

/// What the name of a directory's layers begins with: its own name, as far as a layer's name can be that.
fn stem(directory: &Path) -> String {
    let bytes = directory.file_name().unwrap_or_default().as_bytes();
    let safe = |byte: &u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' => char::from(*byte),
        _ => '_',
    };
    let name: String = bytes.iter().take(LONGEST_STEM).map(safe).collect();
    match name.trim_start_matches(['.', '-']) {
        "" => "layer".to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;

    #[test]
    fn stems_are_names_of_layers() {
        let of = |name: &[u8]| stem(&Path::new("/srv").join(OsStr::from_bytes(name)));
        assert_eq!(of(b"project"), "project");
        assert_eq!(of(b".config"), "config");
        assert_eq!(of(b"a b,c:d\\e\xff"), "a_b_c_d_e_");
        assert_eq!(of(b"--"), "layer");
        assert_eq!(of(&[b'x'; 255]).len(), 60);
    }
}
