//! Users and groups by the container's own `/etc/passwd` and `/etc/group`. The lookup is a pure function of the two texts.

use std::{
    fs::OpenOptions,
    io::Read,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

use super::failure::{Outcome, refuse};
use crate::pod::{RunAs, StartStep};

/// Whom a process runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) groups: Vec<u32>,
    pub(super) home: String,
}

/// Files larger than this are no user database.
const LARGEST: u64 = 8 << 20;

/// Reads a database of the container; what is missing, no plain file or too large counts as empty.
pub(super) fn database(path: &Path) -> String {
    let mut text = String::new();
    // Non-blocking: an image may hold a named pipe there.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    if let Ok(file) = file
        && file.metadata().is_ok_and(|m| m.is_file() && m.size() <= LARGEST)
    {
        let _ = file.take(LARGEST).read_to_string(&mut text);
    }
    text
}

struct Account<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

fn accounts(passwd: &str) -> impl Iterator<Item = Account<'_>> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, uid, gid) = (fields.next()?, fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
        Some(Account { name, uid, gid, home: fields.nth(1).unwrap_or("") })
    })
}

/// Name, number and members of each group.
fn groups(group: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    group.lines().filter_map(|line| {
        let mut fields = line.split(':');
        Some((fields.next()?, fields.nth(1)?.parse().ok()?, fields.next().unwrap_or("")))
    })
}

fn group_number(text: &str, group: &str) -> Outcome<u32> {
    match groups(group).find(|(name, _, _)| *name == text) {
        Some((_, gid, _)) => Ok(gid),
        None => match text.parse() {
            Ok(gid) => Ok(gid),
            Err(_) => refuse(StartStep::User, format!("unable to find group {text}: no such entry in /etc/group")),
        },
    }
}

/// Docker's rules: a name must be listed, a number need not be; the group defaults to the user's, or 0 for an unlisted
/// number; groups that list the user are added unless a group was named.
pub(super) fn resolve(wanted: &RunAs, passwd: &str, group: &str) -> Outcome<Identity> {
    let (user, named_group) = match wanted.user.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|g| !g.is_empty())),
        None => (wanted.user.as_str(), None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let number: Option<u32> = user.parse().ok();
    let account = accounts(passwd)
        .find(|a| a.name == user)
        .or_else(|| number.and_then(|n| accounts(passwd).find(|a| a.uid == n)));
    let uid = match (&account, number) {
        (Some(account), _) => account.uid,
        (None, Some(number)) => number,
        (None, None) => {
            return refuse(StartStep::User, format!("unable to find user {user}: no such entry in /etc/passwd"));
        }
    };
    if wanted.must_not_be_root && uid == 0 {
        return refuse(
            StartStep::User,
            "the container must not run as root (runAsNonRoot), but its user is 0; set runAsUser",
        );
    }
    let mut extra = wanted.groups.clone();
    let gid = match named_group {
        Some(named) => group_number(named, group)?,
        None => {
            if let Some(account) = &account {
                let lists = |members: &str| members.split(',').any(|m| m == account.name);
                extra.extend(groups(group).filter(|(_, _, members)| lists(members)).map(|(_, gid, _)| gid));
            }
            account.as_ref().map_or(0, |a| a.gid)
        }
    };
    for name in &wanted.group_names {
        extra.push(group_number(name, group)?);
    }
    let mut groups = vec![gid];
    for gid in extra {
        if !groups.contains(&gid) {
            groups.push(gid);
        }
    }
    let home = account.map(|a| a.home).filter(|h| !h.is_empty());
    let home = home.unwrap_or(if uid == 0 { "/root" } else { "/" }).to_owned();
    Ok(Identity { uid, gid, groups, home })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:101:102::/srv/web:/bin/sh\nbroken line\n";
    const GROUP: &str = "root:x:0:\nweb:x:102:\nlogs:x:200:other,web\nvideo:x:44:\n";

    fn of(user: &str) -> Outcome<Identity> {
        resolve(&RunAs { user: user.into(), ..RunAs::default() }, PASSWD, GROUP)
    }

    #[test]
    fn names_numbers_and_groups() {
        let web = Identity { uid: 101, gid: 102, groups: vec![102, 200], home: "/srv/web".into() };
        assert_eq!(of("web").unwrap(), web);
        assert_eq!(of("101").unwrap(), web);
        assert_eq!(of("web:video").unwrap(), Identity { gid: 44, groups: vec![44], ..web });
        assert_eq!(of("7:9").unwrap(), Identity { uid: 7, gid: 9, groups: vec![9], home: "/".into() });
        assert_eq!(of("").unwrap().home, "/root");
    }

    #[test]
    fn what_is_not_listed_is_named() {
        assert!(of("nobody").unwrap_err().action.contains("nobody"));
        assert!(of("web:nogroup").unwrap_err().action.contains("nogroup"));
        let wanted = RunAs { must_not_be_root: true, ..RunAs::default() };
        assert!(resolve(&wanted, PASSWD, GROUP).is_err());
    }

    #[test]
    fn added_groups_by_name_or_number() {
        let wanted = RunAs { groups: vec![5], group_names: vec!["video".into(), "77".into()], ..RunAs::default() };
        assert_eq!(resolve(&wanted, PASSWD, GROUP).unwrap().groups, [0, 5, 44, 77]);
    }
}
