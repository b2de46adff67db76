//! Packets written from `docs/protocol/bond.md`, also impossible ones: the engine's own encoder only writes good ones.

use bytes::{BufMut, Bytes, BytesMut};

fn varint(out: &mut BytesMut, mut number: u64) {
    while number >= 0x80 {
        out.put_u8(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.put_u8(number.to_le_bytes()[0]);
}

fn signed(out: &mut BytesMut, number: i64) {
    varint(out, ((number << 1) ^ (number >> 63)).cast_unsigned());
}

fn low24(out: &mut BytesMut, number: u64) {
    out.put_uint(number & 0xff_ffff, 3);
}

/// A hello.
pub(crate) struct Hello {
    pub(crate) number: u8,
    pub(crate) session: u64,
    pub(crate) link: u8,
    pub(crate) latency_us: u64,
    pub(crate) first_link_sequence: u64,
    pub(crate) first_sequence: u64,
    pub(crate) clock_us: u64,
}

impl Hello {
    pub(crate) fn write(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_slice(&[0x20, strata_bond::VERSION, self.number]);
        out.put_u64(self.session);
        out.put_u8(self.link);
        for number in [self.latency_us, self.first_link_sequence, self.first_sequence, self.clock_us] {
            varint(&mut out, number);
        }
        out.freeze()
    }
}

/// A data packet of `bytes` payload; `flags` as on the wire.
pub(crate) fn data(flags: u8, link_sequence: u64, sequence: u64, timestamp_us: u64, bytes: usize) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(0x10 | flags);
    low24(&mut out, link_sequence);
    low24(&mut out, sequence);
    out.put_uint(timestamp_us & 0xffff_ffff, 4);
    out.resize(out.len() + bytes, flags);
    out.freeze()
}

/// A parity packet; its shard has so many bytes, which count up.
pub(crate) struct Parity {
    pub(crate) link_sequence: u64,
    pub(crate) first: u64,
    pub(crate) count: u8,
    pub(crate) total: u8,
    pub(crate) index: u8,
    pub(crate) bytes: usize,
}

impl Parity {
    pub(crate) fn write(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u8(0x50);
        low24(&mut out, self.link_sequence);
        low24(&mut out, self.first);
        out.put_slice(&[self.count, self.total, self.index]);
        out.extend((0..self.bytes).map(|at| at.to_le_bytes()[0]));
        out.freeze()
    }
}

pub(crate) fn ping(link_sequence: u64) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(0x40);
    low24(&mut out, link_sequence);
    out.resize(16, 0);
    out.freeze()
}

/// What a report says of all.
pub(crate) struct Report {
    pub(crate) session: u32,
    pub(crate) instance: u32,
    pub(crate) number: u64,
    pub(crate) clock_us: u64,
    pub(crate) offset_us: i64,
    pub(crate) latency_us: u64,
    pub(crate) next: u64,
    pub(crate) counters: [u64; 5],
}

/// What a report says of a link.
pub(crate) struct LinkReport {
    pub(crate) link: u8,
    pub(crate) hello: u8,
    pub(crate) highest: u64,
    pub(crate) age_us: u64,
    pub(crate) depth: u64,
    pub(crate) missing: Vec<(u64, u64)>,
}

impl Report {
    pub(crate) fn write(&self, links: &[LinkReport]) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u8(0x30);
        out.put_u32(self.session);
        out.put_u32(self.instance);
        varint(&mut out, self.number);
        varint(&mut out, self.clock_us);
        signed(&mut out, self.offset_us);
        for number in [self.latency_us, self.next].into_iter().chain(self.counters) {
            varint(&mut out, number);
        }
        for link in links {
            link.write(&mut out);
        }
        out.freeze()
    }
}

impl LinkReport {
    fn write(&self, out: &mut BytesMut) {
        out.put_u8(self.link | if self.missing.is_empty() { 0 } else { 0x10 });
        out.put_u8(self.hello);
        low24(out, self.highest);
        varint(out, self.age_us);
        varint(out, self.depth);
        if let Ok(count @ 1..) = u8::try_from(self.missing.len()) {
            out.put_u8(count);
            for &(below, length) in &self.missing {
                varint(out, below);
                varint(out, length);
            }
        }
    }
}
