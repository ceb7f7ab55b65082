//! The unix socket: whoever the kernel says is root, this server's own user, or a member of the group `naru` may do
//! everything, as with a Docker engine's socket.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

use crate::authentication::Peer;
use crate::user::User;

/// The group whose members need no sudo.
const GROUP: &str = "naru";

/// A listening socket and its file.
pub(super) struct Socket {
    listener: UnixListener,
    file: SocketFile,
}

/// Removes the socket's file when dropped, if it is still ours.
pub(super) struct SocketFile {
    path: PathBuf,
    inode: u64,
}

// === impl Socket ===

impl Socket {
    pub(super) async fn open(path: &Path) -> io::Result<Socket> {
        if fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket()) {
            // A file left by a server that was killed refuses; one that answers belongs to someone.
            if UnixStream::connect(path).await.is_ok() {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            fs::remove_file(path)?;
        }
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        let listener = UnixListener::bind(path)?;
        // Between here and `bind` the peer check below already holds: the mode is the outer of two doors.
        fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
        if let Some(group) = group_id(&read("/etc/group"), GROUP) {
            // Without it only root gets in, which the start-up of a server must not fail for.
            if let Err(error) = chown(path, None, Some(group)) {
                tracing::warn!(%error, path = %path.display(), "the socket could not be given to the group naru");
            }
        }
        let inode = fs::symlink_metadata(path)?.ino();
        Ok(Socket { listener, file: SocketFile { path: path.to_owned(), inode } })
    }

    pub(super) fn into_parts(self) -> (UnixListener, SocketFile) {
        (self.listener, self.file)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|m| m.ino() == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Who is on the other side; `None` when that one may not be.
pub(super) fn peer(stream: &UnixStream) -> Option<Peer> {
    let credentials = stream.peer_cred().ok()?;
    let (uid, gid) = (credentials.uid(), credentials.gid());
    let passwd = read("/etc/passwd");
    let name = user_name(&passwd, uid).unwrap_or_else(|| format!("uid:{uid}"));
    let own = fs::metadata("/proc/self").is_ok_and(|m| m.uid() == uid);
    let allowed = uid == 0 || own || in_group(&read("/etc/group"), GROUP, &name, gid);
    allowed.then(|| Peer { user: Some(User::master(name)), local: true, ..Peer::default() })
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// `name:password:id:members` of a group file.
fn group_line<'a>(groups: &'a str, name: &str) -> Option<Vec<&'a str>> {
    groups.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|f| f.len() >= 4 && f[0] == name)
}

fn group_id(groups: &str, name: &str) -> Option<u32> {
    group_line(groups, name)?[2].parse().ok()
}

/// The kernel tells a peer's primary group only, hence the look into the file.
fn in_group(groups: &str, group: &str, user: &str, gid: u32) -> bool {
    group_line(groups, group)
        .is_some_and(|fields| fields[2].parse() == Ok(gid) || fields[3].split(',').any(|member| member.trim() == user))
}

fn user_name(passwd: &str, uid: u32) -> Option<String> {
    passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.len() > 2 && fields[2].parse() == Ok(uid))
        .map(|fields| fields[0].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_of_the_group_are_let_in_and_others_are_not() {
        let groups = "root:x:0:\nnaru:x:990:kim,lee\nnarus:x:991:eve\n";
        assert_eq!(group_id(groups, "naru"), Some(990));
        assert!(in_group(groups, "naru", "kim", 1000));
        assert!(in_group(groups, "naru", "anyone", 990));
        assert!(!in_group(groups, "naru", "eve", 991));
        assert!(!in_group("root:x:0:\n", "naru", "kim", 0));
        assert_eq!(user_name("root:x:0:0::/:/bin/sh\nkim:x:1000:1000::/:/bin/sh\n", 1000).as_deref(), Some("kim"));
    }
}
