//! V4L2 nodes that really capture a picture.
//!
//! A node under `/dev/video*` may as well be a codec, a scaler or a camera's
//! metadata: what it can do is asked of the kernel, not guessed from its name.

mod ioctl;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::libc::O_NONBLOCK;
use strata_control::{FrameRate, MediaFormat, MediaInput, MediaInputKind, MediaInputStatus};

use ioctl::{Capability, FrameInterval, FrameSize};

const CAP_VIDEO_CAPTURE: u32 = 0x0000_0001;
const CAP_VIDEO_CAPTURE_MPLANE: u32 = 0x0000_1000;
const CAP_VIDEO_M2M_MPLANE: u32 = 0x0000_4000;
const CAP_VIDEO_M2M: u32 = 0x0000_8000;
/// `device_caps` is filled in: what this node can do; `capabilities` is of the whole device.
const CAP_DEVICE_CAPS: u32 = 0x8000_0000;
const BUF_TYPE_VIDEO_CAPTURE: u32 = 1;
const BUF_TYPE_VIDEO_CAPTURE_MPLANE: u32 = 9;
/// `V4L2_FRMSIZE_TYPE_DISCRETE` and `V4L2_FRMIVAL_TYPE_DISCRETE`.
const DISCRETE: u32 = 1;
/// `V4L2_CID_DV_RX_POWER_PRESENT`: whether something feeds the HDMI input. sysfs says "connected" for ever.
const CID_RX_POWER_PRESENT: u32 = 0x00a0_0964;
/// Drivers of HDMI inputs: the vendor's kernel, mainline, and the bridge chips on other boards.
const HDMI_DRIVERS: [&str; 4] = ["rk_hdmirx", "snps_hdmirx", "tc358743", "lt6911uxc"];
/// A driver that never ends its lists must not hold the agent.
const MAX_LISTED: u32 = 32;
/// Formats of one input in a status: a frame has a limit.
const MAX_FORMATS: usize = 48;
/// Sizes and rates that are named of an input that takes any in a range.
const COMMON_SIZES: [(u32, u32); 5] = [(640, 480), (1280, 720), (1920, 1080), (2560, 1440), (3840, 2160)];
const COMMON_RATES: [u32; 4] = [25, 30, 50, 60];

/// All nodes that capture a picture.
pub(super) fn media_inputs() -> Vec<MediaInput> {
    let mut inputs: Vec<MediaInput> = nodes(Path::new("/dev")).iter().filter_map(|node| media_input(node)).collect();
    let mut labels: BTreeMap<String, usize> = BTreeMap::new();
    for input in &inputs {
        *labels.entry(input.label.clone()).or_default() += 1;
    }
    // Two of the same make: people must be able to tell them apart.
    for input in &mut inputs {
        if labels.get(&input.label).is_some_and(|count| *count > 1) {
            let node = input.id.rsplit('/').next().unwrap_or_default();
            input.label = format!("{} ({node})", input.label);
        }
    }
    inputs
}

/// `videoN` in the order of their numbers.
fn nodes(dev: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dev) else { return vec![] };
    let numbered = |path: PathBuf| {
        let number: u32 = path.file_name()?.to_str()?.strip_prefix("video")?.parse().ok()?;
        Some((number, path))
    };
    let mut nodes: Vec<(u32, PathBuf)> = entries.flatten().filter_map(|entry| numbered(entry.path())).collect();
    nodes.sort();
    nodes.into_iter().map(|(_, path)| path).collect()
}

fn media_input(path: &Path) -> Option<MediaInput> {
    let node = match OpenOptions::new().read(true).write(true).custom_flags(O_NONBLOCK).open(path) {
        Ok(node) => node,
        Err(error) => {
            tracing::debug!("{} cannot be asked whether it captures: {error}", path.display());
            return None;
        }
    };
    let capability = ioctl::capability(&node).ok()?;
    let buffer_type = capture_type(&capability)?;
    let driver = text(&capability.driver);
    let hdmi = HDMI_DRIVERS.contains(&driver.as_str());
    let silent = hdmi && ioctl::control(&node, CID_RX_POWER_PRESENT) == Ok(0);
    Some(MediaInput {
        id: format!("v4l2:{}", path.display()),
        label: label(&capability, &driver),
        kind: if hdmi { MediaInputKind::Hdmi } else { MediaInputKind::Camera },
        formats: formats(&node, buffer_type),
        status: if silent { MediaInputStatus::NoSignal } else { MediaInputStatus::Ready },
    })
}

/// By which buffers the node captures; none when it does not, or is a codec that also does.
fn capture_type(capability: &Capability) -> Option<u32> {
    let own = capability.capabilities & CAP_DEVICE_CAPS != 0;
    let caps = if own { capability.device_caps } else { capability.capabilities };
    if caps & (CAP_VIDEO_M2M | CAP_VIDEO_M2M_MPLANE) != 0 {
        None
    } else if caps & CAP_VIDEO_CAPTURE != 0 {
        Some(BUF_TYPE_VIDEO_CAPTURE)
    } else if caps & CAP_VIDEO_CAPTURE_MPLANE != 0 {
        Some(BUF_TYPE_VIDEO_CAPTURE_MPLANE)
    } else {
        None
    }
}

fn label(capability: &Capability, driver: &str) -> String {
    let card = text(&capability.card);
    if !card.is_empty() {
        return card;
    }
    if driver.is_empty() { text(&capability.bus_info) } else { driver.to_owned() }
}

fn formats(node: &File, buffer_type: u32) -> Vec<MediaFormat> {
    let mut formats = Vec::new();
    let described = (0..MAX_LISTED).map_while(|index| ioctl::format(node, index, buffer_type).ok());
    for format in described {
        let pixel_format = format.pixel_format;
        let listed: Vec<FrameSize> =
            (0..MAX_LISTED).map_while(|index| ioctl::frame_size(node, index, pixel_format).ok()).collect();
        for (width, height) in sizes(&listed) {
            let intervals: Vec<FrameInterval> = (0..MAX_LISTED)
                .map_while(|index| ioctl::frame_interval(node, index, pixel_format, (width, height)).ok())
                .collect();
            formats.push(MediaFormat { format: four_cc(pixel_format), width, height, rates: rates(&intervals) });
        }
    }
    formats.truncate(MAX_FORMATS);
    formats
}

fn sizes(listed: &[FrameSize]) -> Vec<(u32, u32)> {
    match listed {
        [FrameSize { kind, sizes: [min_width, max_width, _, min_height, max_height, _], .. }, ..]
            if *kind != DISCRETE =>
        {
            let fits = |(width, height): &(u32, u32)| {
                (min_width..=max_width).contains(&width) && (min_height..=max_height).contains(&height)
            };
            let mut sizes: Vec<(u32, u32)> = COMMON_SIZES.into_iter().filter(fits).collect();
            if !sizes.contains(&(*max_width, *max_height)) {
                sizes.push((*max_width, *max_height));
            }
            sizes
        }
        discrete => discrete.iter().map(|size| (size.sizes[0], size.sizes[1])).collect(),
    }
}

/// An interval is a frame's time as a fraction of a second; a rate is its inverse.
fn rates(listed: &[FrameInterval]) -> Vec<FrameRate> {
    let rate = |numerator: u32, denominator: u32| {
        (numerator != 0).then_some(FrameRate { numerator: denominator, denominator: numerator })
    };
    match listed {
        [FrameInterval { kind, intervals, .. }, ..] if *kind != DISCRETE => {
            // The least interval is the highest rate.
            let (Some(highest), Some(lowest)) = (rate(intervals[0], intervals[1]), rate(intervals[2], intervals[3]))
            else {
                return vec![];
            };
            let fits = |rate: &FrameRate| (lowest.as_f64()..=highest.as_f64()).contains(&rate.as_f64());
            COMMON_RATES.into_iter().map(FrameRate::per_second).filter(fits).collect()
        }
        discrete => discrete.iter().filter_map(|one| rate(one.intervals[0], one.intervals[1])).collect(),
    }
}

/// A pixel format's four characters (`YUYV`, `MJPG`); the highest bit marks big-endian kinds.
fn four_cc(pixel_format: u32) -> String {
    let printable = |byte: u8| if byte.is_ascii_graphic() { char::from(byte) } else { ' ' };
    let text: String = (pixel_format & 0x7fff_ffff).to_le_bytes().into_iter().map(printable).collect();
    text.trim_end().to_owned()
}

/// A C string in a field; whatever bytes a driver puts there.
fn text(field: &[u8]) -> String {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capability(capabilities: u32, device_caps: u32) -> Capability {
        Capability { capabilities, device_caps, ..Capability::default() }
    }

    #[test]
    fn only_nodes_that_capture_are_inputs() {
        const META_CAPTURE: u32 = 0x0080_0000;
        const STREAMING: u32 = 0x0400_0000;
        const OUTPUT: u32 = 0x0000_0002;
        let all = CAP_VIDEO_CAPTURE | META_CAPTURE | STREAMING | CAP_DEVICE_CAPS;
        for (caps, device_caps, expected) in [
            (all, CAP_VIDEO_CAPTURE | STREAMING, Some(BUF_TYPE_VIDEO_CAPTURE)),
            // The metadata node of the same camera.
            (all, META_CAPTURE | STREAMING, None),
            // HDMI receiver of the board.
            (CAP_VIDEO_CAPTURE_MPLANE | CAP_DEVICE_CAPS, CAP_VIDEO_CAPTURE_MPLANE, Some(BUF_TYPE_VIDEO_CAPTURE_MPLANE)),
            // Codecs.
            (CAP_VIDEO_M2M_MPLANE | CAP_DEVICE_CAPS, CAP_VIDEO_M2M_MPLANE, None),
            (CAP_DEVICE_CAPS, CAP_VIDEO_CAPTURE | OUTPUT | CAP_VIDEO_M2M, None),
            // An old driver that fills in the first field only.
            (CAP_VIDEO_CAPTURE | STREAMING, 0, Some(BUF_TYPE_VIDEO_CAPTURE)),
            (OUTPUT | CAP_DEVICE_CAPS, OUTPUT, None),
        ] {
            assert_eq!(capture_type(&capability(caps, device_caps)), expected, "{caps:#x} {device_caps:#x}");
        }
    }

    #[test]
    fn discrete_and_stepwise_sizes_and_rates() {
        let size = |kind, sizes| FrameSize { kind, sizes, ..FrameSize::default() };
        let discrete = [size(DISCRETE, [1920, 1080, 0, 0, 0, 0]), size(DISCRETE, [640, 480, 0, 0, 0, 0])];
        assert_eq!(sizes(&discrete), [(1920, 1080), (640, 480)]);
        assert_eq!(
            sizes(&[size(3, [64, 1920, 2, 64, 1200, 2])]),
            [(640, 480), (1280, 720), (1920, 1080), (1920, 1200)]
        );
        assert!(sizes(&[]).is_empty());

        let interval = |kind, intervals| FrameInterval { kind, intervals, ..FrameInterval::default() };
        let ntsc = FrameRate { numerator: 30_000, denominator: 1_001 };
        assert_eq!(rates(&[interval(DISCRETE, [1_001, 30_000, 0, 0, 0, 0])]), [ntsc]);
        assert!(rates(&[interval(DISCRETE, [0, 30, 0, 0, 0, 0])]).is_empty());
        let continuous = interval(2, [1, 50, 1, 10, 1, 1]);
        assert_eq!(rates(&[continuous]), [25, 30, 50].map(FrameRate::per_second));
    }

    #[test]
    fn four_characters_and_names_of_any_bytes() {
        assert_eq!(four_cc(u32::from_le_bytes(*b"YUYV")), "YUYV");
        assert_eq!(four_cc(u32::from_le_bytes(*b"Y16 ") | 0x8000_0000), "Y16");
        assert_eq!(text(b"USB Video\0\xff\xff"), "USB Video");
        assert_eq!(text(&[0xff; 4]), "\u{fffd}\u{fffd}\u{fffd}\u{fffd}");
    }

    #[test]
    fn what_is_no_video_node_is_no_input() {
        assert!(media_input(Path::new("/dev/null")).is_none());
        assert!(media_input(Path::new("/nonexistent")).is_none());
    }

    #[test]
    fn nodes_are_in_the_order_of_their_numbers() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["video10", "video2", "video-enc0", "videox", "null"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let found = nodes(folder.path());
        assert_eq!(found, [folder.path().join("video2"), folder.path().join("video10")]);
    }
}
