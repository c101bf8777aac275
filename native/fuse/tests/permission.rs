//! Ordinary users on a mount that root shares with everybody.

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use support::{Mounted, shell_as};

const ALICE: u32 = 1001;
const BOB: u32 = 1002;

#[test]
fn a_directory_that_may_not_be_searched_hides_names_that_the_kernel_has_cached() {
    let Some(mounted) = Mounted::new() else {
        return;
    };
    let private = mounted.path("private");
    fs::create_dir(&private).unwrap();
    fs::write(private.join("secret"), b"secret").unwrap();
    fs::set_permissions(private.join("secret"), PermissionsExt::from_mode(0o666)).unwrap();
    let read = |uid| shell_as(uid, &mounted.point(), "cat private/secret");
    assert_eq!(read(ALICE).unwrap(), "secret");
    fs::set_permissions(&private, PermissionsExt::from_mode(0o700)).unwrap();
    // Root walks there: the names are in the kernel's cache now.
    assert_eq!(fs::read(private.join("secret")).unwrap(), b"secret");
    assert!(read(ALICE).unwrap_err().contains("Permission denied"));
    let stat = shell_as(ALICE, &mounted.point(), "stat private/secret");
    assert!(stat.unwrap_err().contains("Permission denied"));
    fs::set_permissions(&private, PermissionsExt::from_mode(0o711)).unwrap();
    assert_eq!(read(ALICE).unwrap(), "secret");
    assert!(shell_as(ALICE, &mounted.point(), "ls private").is_err());
    // The other view takes the permission back.
    let (caller, node) = (lockstep_vfs::Caller::root(), mounted.node("/private"));
    let change = lockstep_vfs::SetAttributes {
        mode: Some(0o700),
        ..Default::default()
    };
    mounted.vfs.set_attributes(&caller, node, &change).unwrap();
    assert!(read(ALICE).unwrap_err().contains("Permission denied"));
}

#[test]
fn files_belong_to_who_made_them_and_the_umask_is_applied_once() {
    let Some(mounted) = Mounted::new() else {
        return;
    };
    let home = mounted.path("home");
    fs::create_dir(&home).unwrap();
    fs::set_permissions(&home, PermissionsExt::from_mode(0o777)).unwrap();
    shell_as(
        ALICE,
        &home,
        "umask 027; touch file; mkdir dir; mkfifo pipe; ln -s x link",
    )
    .unwrap();
    let mode = |name: &str| {
        let stat = fs::symlink_metadata(home.join(name)).unwrap();
        assert_eq!((stat.uid(), stat.gid()), (ALICE, ALICE));
        stat.mode() & 0o7777
    };
    assert_eq!(
        (mode("file"), mode("dir"), mode("pipe")),
        (0o640, 0o750, 0o640)
    );
    shell_as(ALICE, &home, "umask 0; touch open").unwrap();
    assert_eq!(mode("open"), 0o666);
    assert!(shell_as(BOB, &home, "cat file").is_err());
    assert!(shell_as(BOB, &home, "chmod 777 file").is_err());
    assert!(shell_as(BOB, &home, "chown 1002 open").is_err());
    shell_as(BOB, &home, "echo x > open; rm open").unwrap();
    fs::set_permissions(&home, PermissionsExt::from_mode(0o1777)).unwrap();
    assert!(shell_as(BOB, &home, "rm -f file").is_err());
    assert!(shell_as(BOB, &home, "mv file other").is_err());
    shell_as(ALICE, &home, "rm file").unwrap();
}

#[test]
fn supplementary_groups_count() {
    let Some(mounted) = Mounted::new() else {
        return;
    };
    let path = mounted.path("shared");
    fs::write(&path, b"for the group").unwrap();
    std::os::unix::fs::chown(&path, Some(0), Some(4242)).unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o060)).unwrap();
    assert!(shell_as(ALICE, &mounted.point(), "cat shared").is_err());
    let script = "setpriv --reuid 1001 --regid 1001 --groups 7,4242 cat shared";
    let seen = std::process::Command::new("sh")
        .args(["-c", script])
        .current_dir(mounted.point())
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&seen.stdout),
        "for the group",
        "{seen:?}"
    );
}

#[test]
fn a_descriptor_keeps_the_right_it_was_opened_with() {
    let Some(mounted) = Mounted::new() else {
        return;
    };
    let home = mounted.path("home");
    fs::create_dir(&home).unwrap();
    std::os::unix::fs::chown(&home, Some(ALICE), Some(ALICE)).unwrap();
    let script = "exec 3> file; echo one >&3; chmod 0 file; echo two >&3; \
        truncate -s 4 /proc/self/fd/3 || true; python3 -c 'import os; os.ftruncate(3, 5)'";
    shell_as(ALICE, &home, script).unwrap();
    let stat = fs::metadata(home.join("file")).unwrap();
    assert_eq!((stat.len(), stat.mode() & 0o777), (5, 0));
}

#[test]
fn access_control_lists_are_obeyed() {
    let Some(mounted) = Mounted::new() else {
        return;
    };
    let path = mounted.path("listed");
    fs::write(&path, b"acl").unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    assert!(shell_as(ALICE, &mounted.point(), "cat listed").is_err());
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(&path, "system.posix_acl_access", &acl_for(ALICE), flags).unwrap();
    // The group bits are the mask now.
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
    assert_eq!(
        shell_as(ALICE, &mounted.point(), "cat listed").unwrap(),
        "acl"
    );
    assert!(shell_as(BOB, &mounted.point(), "cat listed").is_err());
    fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    assert!(shell_as(ALICE, &mounted.point(), "cat listed").is_err());
    // Taken away by the other view.
    fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
    assert_eq!(
        shell_as(ALICE, &mounted.point(), "cat listed").unwrap(),
        "acl"
    );
    let (caller, node) = (lockstep_vfs::Caller::root(), mounted.node("/listed"));
    mounted
        .vfs
        .remove_xattr(&caller, node, b"system.posix_acl_access")
        .unwrap();
    assert!(shell_as(ALICE, &mounted.point(), "cat listed").is_err());
}

#[test]
fn a_default_list_rules_instead_of_the_umask() {
    let Some(mounted) = Mounted::new() else {
        return;
    };
    let dir = mounted.path("dir");
    fs::create_dir(&dir).unwrap();
    fs::set_permissions(&dir, PermissionsExt::from_mode(0o777)).unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(&dir, "system.posix_acl_default", &acl_for(BOB), flags).unwrap();
    shell_as(ALICE, &dir, "umask 077; echo inherited > file").unwrap();
    assert_eq!(shell_as(BOB, &dir, "cat file").unwrap(), "inherited");
    assert!(shell_as(1003, &dir, "cat file").is_err());
}

/// `u::rw-,u:uid:r--,g::---,m::r--,o::---` as the kernel stores it.
fn acl_for(uid: u32) -> Vec<u8> {
    const UNDEFINED: u32 = u32::MAX;
    let entries = [
        (0x01u16, 6u16, UNDEFINED),
        (0x02, 4, uid),
        (0x04, 0, UNDEFINED),
        (0x10, 4, UNDEFINED),
        (0x20, 0, UNDEFINED),
    ];
    let mut bytes = 2u32.to_le_bytes().to_vec();
    for (tag, permission, id) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(permission.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

#[test]
fn without_allow_other_the_mount_is_the_owners() {
    let Some(mounted) = Mounted::with(lockstep_fuse::MountOptions::default()) else {
        return;
    };
    fs::write(mounted.path("file"), b"x").unwrap();
    fs::set_permissions(mounted.path("file"), PermissionsExt::from_mode(0o666)).unwrap();
    let read = shell_as(ALICE, mounted.dir.path(), "cat mnt/file");
    assert!(read.unwrap_err().contains("Permission denied"));
}
