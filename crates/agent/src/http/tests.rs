//! Parts that need no pod: queries, archives, namespaces of sockets, channels.

use std::{fs, os::unix::fs::symlink};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        protocol::{Role, frame::coding::CloseCode},
    },
};

use super::{
    channels::{Channel, In, Out, outcome, resize},
    query::{Query, decode},
    tree::{Tree, pack, unpack},
    websocket,
};

#[test]
fn queries_are_decoded() {
    let query = Query::parse(Some("command=ls&command=-l%20x&tty=1&stdin=false&tailLines=5&bad=x&empty="));
    assert_eq!(query.all("command"), ["ls", "-l x"]);
    assert!(
        query.flag(&["tty"]) && !query.flag(&["stdin"]) && !query.flag(&["none"]) && query.flag(&["none", "empty"])
    );
    assert_eq!(query.number::<usize>("tailLines"), Ok(Some(5)));
    assert!(query.number::<usize>("bad").is_err());
    assert_eq!(query.number::<usize>("empty"), Ok(None));
    assert_eq!(decode("a+b%2Fc%zz%"), "a b/c%zz%");
}

#[test]
fn exits_and_sizes_are_kubernetes_words() {
    assert_eq!(outcome(0)["status"], "Success");
    assert_eq!(outcome(3)["details"]["causes"][0]["message"], "3");
    let size = resize(br#"{"Width":80,"Height":24}"#).unwrap();
    assert_eq!((size.columns, size.rows), (80, 24));
    assert!(resize(b"{}").is_none());
}

fn archive_of(root: &Tree, path: &str) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    pack(&root.find(path)?, &mut bytes)?;
    Ok(bytes)
}

#[test]
fn files_go_out_and_in_with_modes_and_links() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    fs::create_dir_all(from.join("etc/sub")).unwrap();
    fs::create_dir_all(to.join("have")).unwrap();
    fs::write(from.join("etc/a"), "text").unwrap();
    fs::write(from.join("etc/sub/b"), "deep").unwrap();
    symlink("a", from.join("etc/link")).unwrap();
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(from.join("etc/a"), fs::Permissions::from_mode(0o750)).unwrap();
    let (from, root) = (Tree::of_folder(&from).unwrap(), Tree::of_folder(&to).unwrap());
    let bytes = archive_of(&from, "/etc").unwrap();
    unpack(&root, "/have", "etc", &bytes[..]).unwrap();
    assert_eq!(fs::read_to_string(to.join("have/etc/sub/b")).unwrap(), "deep");
    assert_eq!(fs::metadata(to.join("have/etc/a")).unwrap().permissions().mode() & 0o777, 0o750);
    assert_eq!(fs::read_link(to.join("have/etc/link")).unwrap().to_str(), Some("a"));
    unpack(&root, "/new", "etc", &bytes[..]).unwrap();
    assert_eq!(fs::read_to_string(to.join("new/a")).unwrap(), "text", "a new path renames the source");
    let file = archive_of(&from, "/etc/a").unwrap();
    unpack(&root, "/have/renamed", "a", &file[..]).unwrap();
    assert_eq!(fs::read_to_string(to.join("have/renamed")).unwrap(), "text");
    unpack(&root, "/have/renamed", "a", &file[..]).unwrap();
    assert!(unpack(&root, "/nowhere/x", "a", &file[..]).is_err(), "the parent must exist");
    assert!(archive_of(&from, "/none").is_err());
}

#[test]
fn links_of_a_container_never_lead_to_the_host() {
    let dir = tempfile::tempdir().unwrap();
    let root_path = dir.path().join("root");
    fs::create_dir_all(root_path.join("inside")).unwrap();
    fs::write(dir.path().join("secret"), "host").unwrap();
    symlink(dir.path(), root_path.join("out")).unwrap();
    symlink("../../..", root_path.join("inside/up")).unwrap();
    let root = Tree::of_folder(&root_path).unwrap();
    assert!(archive_of(&root, "/out/secret").is_err(), "an absolute link resolves within the root");
    assert!(archive_of(&root, "/inside/up/secret").is_err(), "a climbing link stops at the root");
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(1);
    header.set_mode(0o644);
    header.as_old_mut().name[..13].copy_from_slice(b"../../escaped");
    header.set_cksum();
    builder.append(&header, &b"x"[..]).unwrap();
    unpack(&root, "/inside", "", &builder.into_inner().unwrap()[..]).unwrap();
    assert!(!dir.path().join("escaped").exists() && !root_path.join("escaped").exists());
}

#[tokio::test]
async fn a_session_over_websocket_carries_every_channel() {
    let (client, server) = tokio::io::duplex(64 << 10);
    let mut peer = websocket::peer(server, true).await;
    let mut client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
    for message in [
        websocket::message(0, b""),
        websocket::message(0, b"in"),
        websocket::message(4, br#"{"Width":1,"Height":2}"#),
        websocket::message(websocket::CLOSE, &[0]),
    ] {
        client.send(message).await.unwrap();
    }
    assert_eq!(peer.input.recv().await, Some(In::Stdin(Bytes::from_static(b"in"))));
    assert!(matches!(peer.input.recv().await, Some(In::Resize(size)) if size.rows == 2));
    assert_eq!(peer.input.recv().await, Some(In::StdinEnd));
    for out in [
        Out::Data(Channel::Stdout, Bytes::from_static(b"out")),
        Out::End(Channel::Stdout),
        Out::Data(Channel::Error, Bytes::from_static(b"{}")),
        Out::Over,
    ] {
        peer.out.send(out).await.unwrap();
    }
    let (mut seen, mut farewell) = (Vec::new(), None);
    while let Some(Ok(message)) = client.next().await {
        match message {
            Message::Binary(data) => seen.push(data.to_vec()),
            Message::Close(frame) => {
                farewell = frame.map(|frame| frame.code);
                break;
            }
            _ => {}
        }
    }
    assert_eq!(seen, [b"\x01out".to_vec(), b"\x03{}".to_vec()], "clients know no closing of single channels");
    assert_eq!(farewell, Some(CloseCode::Normal));
}
