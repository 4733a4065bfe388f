//! nginx as a backend, in the foreground, with everything it writes in the test's folder.

use std::{io::Write, net::TcpStream, os::unix::net::UnixStream, process::Command};

use super::{Folder, Program, holds_within, machine, patience, text};

pub struct Nginx {
    pub address: String,
    pub folder: Folder,
    _program: Program,
}

impl Nginx {
    pub fn tcp() -> Self {
        let port = machine::free_port();
        Nginx::start(Folder::new(), format!("127.0.0.1:{port}"))
    }

    pub fn unix() -> Self {
        let folder = Folder::new();
        let address = format!("unix:{}", text(&folder.join("nginx")));
        Nginx::start(folder, address)
    }

    fn start(folder: Folder, address: String) -> Self {
        let root = text(folder.path());
        for name in ["files", "bodies"] {
            std::fs::create_dir(folder.join(name)).unwrap();
        }
        folder.write("files/index.html", "hello from nginx\n");
        // GET serves files; PUT under /put/ stores them.
        let config = folder.write("nginx.conf", format!(
            "daemon off; master_process off; pid {root}/nginx.pid; error_log {root}/error.log;\n\
             events {{ worker_connections 512; }}\n\
             http {{\n  access_log off; sendfile on; keepalive_requests 1000000;\n\
             client_max_body_size 64m; client_body_temp_path {root}/bodies;\n\
             proxy_temp_path {root}/t1; fastcgi_temp_path {root}/t2;\n\
             uwsgi_temp_path {root}/t3; scgi_temp_path {root}/t4;\n\
             server {{ listen {address}; location / {{ root {root}/files; }}\n\
             location = /address {{ return 200 \"$remote_addr $http_host\\n\"; }}\n\
             location /put/ {{ root {root}/files; dav_methods PUT; create_full_put_path on; }}\n\
             }}\n}}\n"
        ));
        let mut command = Command::new("/usr/sbin/nginx");
        command.args([
            "-p",
            &root,
            "-c",
            &config,
            "-e",
            &format!("{root}/error.log"),
        ]);
        let program = Program::start(&mut command);
        let ready = holds_within(patience(), || connects(&address));
        assert!(ready, "nginx is not ready: {}", program.output());
        Nginx {
            address,
            folder,
            _program: program,
        }
    }
}

fn connects(address: &str) -> bool {
    match address.strip_prefix("unix:") {
        Some(path) => UnixStream::connect(path)
            .and_then(|mut socket| socket.flush())
            .is_ok(),
        None => TcpStream::connect(address).is_ok(),
    }
}
