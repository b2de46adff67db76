//! JSON lines of bounded length over a Unix socket.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

/// One line without its end; none at the end of the stream. Longer than `limit` is an error.
pub(crate) async fn read_line(reader: &mut (impl AsyncBufRead + Unpin), limit: usize) -> io::Result<Option<Vec<u8>>> {
    let mut line = vec![];
    let read = reader.take(limit as u64 + 1).read_until(b'\n', &mut line).await?;
    if read == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if read > limit {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a line is longer than {limit} bytes")));
    }
    Ok(Some(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_bounded() {
        let mut input: &[u8] = b"one\n\ntwo";
        assert_eq!(read_line(&mut input, 10).await.unwrap().unwrap(), b"one");
        assert_eq!(read_line(&mut input, 10).await.unwrap().unwrap(), b"");
        assert_eq!(read_line(&mut input, 10).await.unwrap().unwrap(), b"two");
        assert_eq!(read_line(&mut input, 10).await.unwrap(), None);
        let mut long: &[u8] = b"0123456789x\n";
        assert!(read_line(&mut long, 10).await.unwrap_err().to_string().contains("longer than 10 bytes"));
        let mut exact: &[u8] = b"0123456789\n";
        assert_eq!(read_line(&mut exact, 10).await.unwrap().unwrap(), b"0123456789");
    }
}
