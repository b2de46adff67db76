//! What the receiver tells the sender, many times a second: what arrived over each link, and when.
//!
//! A report states the whole truth of the last second, not events: a lost report
//! costs nothing but the wait for the next. Each carries all links, so that any
//! one way back is enough.

use bytes::{BufMut, BytesMut};

use super::codec::{Reader, put_signed, put_varint};
use super::{LIMIT, MAX_LATENCY_US, ParseError, SEQUENCE_BITS, mask};

/// The most ranges of missing packets per link in one report; older ones count as lost.
pub(crate) const MAX_RANGES: usize = 64;

/// What arrived over one link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LinkReport {
    /// 0..=15.
    pub(crate) link: u8,
    /// The number of the last hello received on it.
    pub(crate) hello: u8,
    /// The highest link sequence received; shortened on the wire.
    pub(crate) highest: u64,
    /// How long before the report's clock that packet arrived, in microseconds.
    pub(crate) age_us: u64,
    /// How far below `highest` the ranges are complete; what is older and unanswered is lost.
    pub(crate) depth: u64,
    /// Missing link sequences, highest first, as distance below `highest` of the upper end, and length.
    pub(crate) missing: Vec<(u64, u64)>,
}

/// What arrived, over all links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Report {
    /// Low half of the session's id.
    pub(crate) session: u32,
    /// Chosen at random when the receiver starts.
    pub(crate) instance: u32,
    /// Counts reports.
    pub(crate) number: u64,
    /// The receiver's clock in microseconds.
    pub(crate) clock_us: u64,
    /// Receiver's clock minus sender's clock as seen over the fastest link, in microseconds.
    pub(crate) offset_us: i64,
    /// The latency in force, in microseconds.
    pub(crate) latency_us: u64,
    /// Everything below this stream sequence was received or is past its time.
    pub(crate) next: u64,
    pub(crate) delivered: u64,
    pub(crate) lost: u64,
    pub(crate) late: u64,
    pub(crate) duplicates: u64,
    pub(crate) recovered: u64,
    pub(crate) links: Vec<LinkReport>,
}

impl Report {
    pub(super) fn encode(&self, out: &mut BytesMut) {
        out.put_u32(self.session);
        out.put_u32(self.instance);
        put_varint(out, self.number);
        put_varint(out, self.clock_us);
        put_signed(out, self.offset_us);
        put_varint(out, self.latency_us);
        for counter in [self.next, self.delivered, self.lost, self.late, self.duplicates, self.recovered] {
            put_varint(out, counter);
        }
        for link in &self.links {
            link.encode(out);
        }
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let mut reader = Reader::new(bytes);
        let mut report = Self {
            session: u32::try_from(reader.uint(4)?).expect("four bytes"),
            instance: u32::try_from(reader.uint(4)?).expect("four bytes"),
            number: reader.varint()?,
            clock_us: limited(reader.varint()?)?,
            offset_us: reader.signed()?,
            latency_us: reader.varint()?,
            next: reader.varint()?,
            delivered: reader.varint()?,
            lost: reader.varint()?,
            late: reader.varint()?,
            duplicates: reader.varint()?,
            recovered: reader.varint()?,
            links: Vec::new(),
        };
        if report.offset_us.unsigned_abs() >= LIMIT || report.latency_us > MAX_LATENCY_US {
            return Err(ParseError::Value);
        }
        while let Ok(head) = reader.byte() {
            if report.links.len() == crate::MAX_LINKS {
                return Err(ParseError::Value);
            }
            report.links.push(LinkReport::parse(head, &mut reader)?);
        }
        Ok(report)
    }
}

fn limited(number: u64) -> Result<u64, ParseError> {
    if number < LIMIT { Ok(number) } else { Err(ParseError::Value) }
}

/// Set in a link's first byte when missing ranges follow.
const HAS_MISSING: u8 = 0x10;

impl LinkReport {
    fn encode(&self, out: &mut BytesMut) {
        let has_missing = if self.missing.is_empty() { 0 } else { HAS_MISSING };
        out.put_u8(self.link | has_missing);
        out.put_u8(self.hello);
        out.put_uint(self.highest & mask(SEQUENCE_BITS), 3);
        put_varint(out, self.age_us);
        put_varint(out, self.depth);
        if !self.missing.is_empty() {
            out.put_u8(u8::try_from(self.missing.len()).expect("at most MAX_RANGES"));
            for &(below, length) in &self.missing {
                put_varint(out, below);
                put_varint(out, length);
            }
        }
    }

    fn parse(head: u8, reader: &mut Reader<'_>) -> Result<Self, ParseError> {
        let link = head & !HAS_MISSING;
        if usize::from(link) >= crate::MAX_LINKS {
            return Err(ParseError::Value);
        }
        let mut report = Self {
            link,
            hello: reader.byte()?,
            highest: reader.uint(3)?,
            age_us: limited(reader.varint()?)?,
            depth: reader.varint()?,
            missing: Vec::new(),
        };
        if head & HAS_MISSING != 0 {
            let count = usize::from(reader.byte()?);
            if count > MAX_RANGES {
                return Err(ParseError::Value);
            }
            for _ in 0..count {
                report.missing.push((limited(reader.varint()?)?, limited(reader.varint()?)?));
            }
        }
        Ok(report)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Packet, encode_report};
    use super::*;

    #[test]
    fn a_report_reads_back_and_is_small() {
        let link = |link, missing: Vec<(u64, u64)>| LinkReport {
            link,
            hello: 1,
            highest: 70_000,
            age_us: 4_000,
            depth: 300,
            missing,
        };
        let report = Report {
            session: 7,
            instance: 9,
            number: 300,
            clock_us: 60_000_000,
            offset_us: -4_000_000,
            latency_us: 500_000,
            next: 100_000,
            delivered: 100_000,
            lost: 1,
            late: 0,
            duplicates: 20,
            recovered: 300,
            links: vec![link(0, vec![]), link(1, vec![(1, 2), (9, 1)]), link(15, vec![])],
        };
        let bytes = encode_report(&report);
        assert!(bytes.len() < 80, "{} bytes", bytes.len());
        assert_eq!(Packet::parse(&bytes), Ok(Packet::Report(report)));
    }
}
