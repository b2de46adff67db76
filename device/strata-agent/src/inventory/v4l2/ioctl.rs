//! The five questions of V4L2 that are asked here, as safe functions.
//!
//! Shapes and numbers are those of `linux/videodev2.h` (kernel UAPI, stable).
//! The one module of this crate with `unsafe` code: an ioctl hands the kernel a
//! pointer, which no safe wrapper of a maintained crate does for V4L2 without
//! generating its bindings by libclang at build time.

#![allow(unsafe_code, reason = "ioctls; each call states why it is sound")]

use std::fs::File;
use std::os::fd::AsRawFd;

use nix::libc::c_int;

/// `struct v4l2_capability`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Capability {
    pub(super) driver: [u8; 16],
    pub(super) card: [u8; 32],
    pub(super) bus_info: [u8; 32],
    pub(super) version: u32,
    pub(super) capabilities: u32,
    pub(super) device_caps: u32,
    pub(super) reserved: [u32; 3],
}

/// `struct v4l2_fmtdesc`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FormatDescription {
    pub(super) index: u32,
    pub(super) buffer_type: u32,
    flags: u32,
    description: [u8; 32],
    pub(super) pixel_format: u32,
    mbus_code: u32,
    pub(super) reserved: [u32; 3],
}

/// `struct v4l2_frmsizeenum`; `sizes` is its union: width and height, or
/// least, greatest and step of the width, then of the height.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FrameSize {
    pub(super) index: u32,
    pub(super) pixel_format: u32,
    pub(super) kind: u32,
    pub(super) sizes: [u32; 6],
    pub(super) reserved: [u32; 2],
}

/// `struct v4l2_frmivalenum`; `intervals` is its union: one fraction, or least, greatest and step.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FrameInterval {
    pub(super) index: u32,
    pub(super) pixel_format: u32,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) kind: u32,
    pub(super) intervals: [u32; 6],
    pub(super) reserved: [u32; 2],
}

/// `struct v4l2_control`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Control {
    id: u32,
    value: i32,
}

// The size is part of an ioctl's number: a struct of another size would be another ioctl.
const _: () = assert!(size_of::<Capability>() == 104);
const _: () = assert!(size_of::<FormatDescription>() == 64);
const _: () = assert!(size_of::<FrameSize>() == 44);
const _: () = assert!(size_of::<FrameInterval>() == 52);
const _: () = assert!(size_of::<Control>() == 8);

mod raw {
    use super::{Capability, Control, FormatDescription, FrameInterval, FrameSize};

    nix::ioctl_read!(querycap, b'V', 0, Capability);
    nix::ioctl_readwrite!(enum_fmt, b'V', 2, FormatDescription);
    nix::ioctl_readwrite!(g_ctrl, b'V', 27, Control);
    nix::ioctl_readwrite!(enum_framesizes, b'V', 74, FrameSize);
    nix::ioctl_readwrite!(enum_frameintervals, b'V', 75, FrameInterval);
}

/// Calls an ioctl that reads and writes one value.
fn call<T>(node: &File, value: &mut T, ioctl: unsafe fn(c_int, *mut T) -> nix::Result<c_int>) -> nix::Result<()> {
    // SAFETY: the descriptor is open while `node` is borrowed. `value` is a plain C struct of
    // the size in the ioctl's number (asserted above), exclusively borrowed, every bit pattern of
    // it is valid, and it holds no pointer: the kernel writes within it, and only during the call.
    unsafe { ioctl(node.as_raw_fd(), value) }.map(|_| ())
}

/// What the node is (`VIDIOC_QUERYCAP`).
pub(super) fn capability(node: &File) -> nix::Result<Capability> {
    let mut capability = Capability::default();
    call(node, &mut capability, raw::querycap)?;
    Ok(capability)
}

/// The node's format of this number (`VIDIOC_ENUM_FMT`).
pub(super) fn format(node: &File, index: u32, buffer_type: u32) -> nix::Result<FormatDescription> {
    let mut description = FormatDescription { index, buffer_type, ..FormatDescription::default() };
    call(node, &mut description, raw::enum_fmt)?;
    Ok(description)
}

/// The format's size of this number (`VIDIOC_ENUM_FRAMESIZES`).
pub(super) fn frame_size(node: &File, index: u32, pixel_format: u32) -> nix::Result<FrameSize> {
    let mut size = FrameSize { index, pixel_format, ..FrameSize::default() };
    call(node, &mut size, raw::enum_framesizes)?;
    Ok(size)
}

/// The size's frame interval of this number (`VIDIOC_ENUM_FRAMEINTERVALS`).
pub(super) fn frame_interval(
    node: &File,
    index: u32,
    pixel_format: u32,
    (width, height): (u32, u32),
) -> nix::Result<FrameInterval> {
    let mut interval = FrameInterval { index, pixel_format, width, height, ..FrameInterval::default() };
    call(node, &mut interval, raw::enum_frameintervals)?;
    Ok(interval)
}

/// A control's value (`VIDIOC_G_CTRL`).
pub(super) fn control(node: &File, id: u32) -> nix::Result<i32> {
    let mut control = Control { id, value: 0 };
    call(node, &mut control, raw::g_ctrl)?;
    Ok(control.value)
}
