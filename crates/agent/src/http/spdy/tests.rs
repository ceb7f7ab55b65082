//! The codec against known bytes, and a client of our own against the server's side.

use bytes::Bytes;
use tokio::io::AsyncWriteExt;

use super::{
    connection::serve,
    dictionary::dictionary,
    frame::Frame,
    headers::{Decoder, Encoder, Headers},
};

/// Adler-32, as zlib puts it into the header of a stream with a dictionary.
fn adler(bytes: &[u8]) -> u32 {
    let (mut a, mut b) = (1u32, 0u32);
    for byte in bytes {
        a = (a + u32::from(*byte)) % 65521;
        b = (b + a) % 65521;
    }
    b << 16 | a
}

#[test]
fn the_dictionary_is_the_protocols() {
    // Every SPDY/3 connection's first header block begins with these bytes: the dictionary's checksum.
    assert_eq!(dictionary().len(), 1423);
    assert_eq!(adler(&dictionary()), 0xe3c6_a7c2);
    let block = Encoder::new().encode(&Headers::new()).unwrap();
    assert_eq!(block[2..6], [0xe3, 0xc6, 0xa7, 0xc2]);
}

#[test]
fn header_blocks_share_one_context() {
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
    for round in 0..5 {
        let long = "x".repeat(round * 3000);
        let headers: Headers =
            vec![("streamtype".into(), "data".into()), ("port".into(), round.to_string()), ("pad".into(), long)];
        let block = encoder.encode(&headers).unwrap();
        assert_eq!(decoder.decode(&block).unwrap(), headers, "round {round}");
    }
    assert_eq!(decoder.decode(&encoder.encode(&Headers::new()).unwrap()).unwrap(), Headers::new());
    assert!(Decoder::new().decode(b"nonsense").is_err());
}

#[tokio::test]
async fn frames_read_back_as_written() {
    let block = Bytes::from_static(b"block");
    let frames = [
        Frame::SynStream { id: 1, fin: false, block: block.clone() },
        Frame::SynReply { id: 1, fin: true, block: block.clone() },
        Frame::Headers { id: 3, fin: true, block },
        Frame::Data { id: 5, fin: true, data: Bytes::from_static(b"data") },
        Frame::Reset { id: 7 },
        Frame::Ping { id: 9 },
        Frame::GoAway,
    ];
    let bytes: Vec<u8> = frames.iter().flat_map(Frame::bytes).collect();
    let mut from = &bytes[..];
    for frame in frames {
        assert_eq!(Frame::read(&mut from).await.unwrap(), Some(frame));
    }
    assert_eq!(Frame::read(&mut from).await.unwrap(), None);
    let mut huge = &[0, 0, 0, 1, 0, 0xff, 0xff, 0xff][..];
    assert!(Frame::read(&mut huge).await.is_err());
}

#[tokio::test]
async fn a_client_opens_streams_and_both_sides_end_them() {
    let (mut client, server) = tokio::io::duplex(64 << 10);
    let mut accepted = serve(server);
    let mut encoder = Encoder::new();
    let headers: Headers = vec![("Streamtype".into(), "data".into())];
    let block = encoder.encode(&headers).unwrap().into();
    client.write_all(&Frame::SynStream { id: 1, fin: false, block }.bytes()).await.unwrap();
    client.write_all(&Frame::Ping { id: 1 }.bytes()).await.unwrap();
    let mut stream = accepted.recv().await.unwrap();
    assert_eq!(stream.header("streamtype"), Some("data"));
    assert!(matches!(Frame::read(&mut client).await.unwrap(), Some(Frame::SynReply { id: 1, .. })));
    assert_eq!(Frame::read(&mut client).await.unwrap(), Some(Frame::Ping { id: 1 }));
    client.write_all(&Frame::Data { id: 1, fin: true, data: Bytes::from_static(b"up") }.bytes()).await.unwrap();
    assert_eq!(stream.recv().await.as_deref(), Some(&b"up"[..]));
    assert_eq!(stream.recv().await, None);
    assert!(stream.send(Bytes::from_static(b"down")).await);
    stream.finish().await;
    let down = Frame::Data { id: 1, fin: false, data: Bytes::from_static(b"down") };
    assert_eq!(Frame::read(&mut client).await.unwrap(), Some(down));
    let end = Frame::Data { id: 1, fin: true, data: Bytes::new() };
    assert_eq!(Frame::read(&mut client).await.unwrap(), Some(end));
}
