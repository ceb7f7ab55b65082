//! The verbs of Compose over the cluster's objects.
//!
//! Each verb reads the objects of one namespace and writes a few of them; nothing here talks to containers directly.
//! The project is compiled on the server, so that every client that sends the same file gets the same objects.

mod apply;
mod build;
mod config;
mod container;
mod copy;
mod down;
mod exec;
mod images;
mod list;
mod logs;
mod one_off;
mod ports;
mod power;
mod progress;
mod project;
mod stats;
mod up;
mod watch;

use std::process::ExitCode;

use crate::cli::{ComposeCommand, Place, ProjectOptions};
use crate::connect::{connect, connect_or_start};

pub(crate) use project::Project;

/// Runs one verb. `before` are the project options that stand before it.
pub(crate) async fn run(place: Place, before: ProjectOptions, command: ComposeCommand) -> anyhow::Result<ExitCode> {
    use ComposeCommand as C;
    let done = |()| ExitCode::SUCCESS;
    match command {
        C::Up(mut options) => {
            options.project = options.project.clone().over(before);
            up::up(&place, *options).await
        }
        C::Create { project, build, services } => {
            up::create(&place, project.over(before), build, services.services).await.map(done)
        }
        C::Config { project, format, quiet, services, volumes, images, profiles, no_interpolate, objects } => {
            let what = config::What { services, volumes, images, profiles, objects };
            config::config(&project.over(before), &format, quiet, &what, no_interpolate).map(done)
        }
        C::Build { project, no_cache, pull, build_arg, services } => {
            let project = Project::load(&project.over(before), &services.services)?;
            let client = connect_or_start(&place).await?;
            build::build(&client, &project, &services.services, no_cache, pull, &build_arg).await.map(done)
        }
        C::Pull { project, ignore_pull_failures, quiet, services } => {
            let project = Project::load(&project.over(before), &services.services)?;
            let client = connect_or_start(&place).await?;
            images::pull(&client, &project, &services.services, ignore_pull_failures, quiet).await.map(done)
        }
        C::Run(mut options) => {
            options.project = options.project.clone().over(before);
            one_off::run(&place, *options).await
        }
        C::Ls { all, quiet, format } => list::projects(&connect(&place)?, all, quiet, &format).await.map(done),
        C::Down { project, volumes, rmi, remove_orphans, timeout } => {
            let target = project::Target::find(&project.over(before))?;
            let _ = remove_orphans; // everything of the namespace goes, whether the file has it or not
            down::down(&connect(&place)?, &target, volumes, rmi.as_deref(), timeout).await.map(done)
        }
        C::Ps { project, all, quiet, services_only, format, services } => {
            let target = project::Target::find(&project.over(before))?;
            let show = list::Show { all, quiet, services_only, format };
            list::containers(&connect(&place)?, &target, &services.services, &show).await.map(done)
        }
        C::Logs { project, follow, tail, since, timestamps, no_color, no_log_prefix, services } => {
            let target = project::Target::find(&ProjectOptions::from(project).over(before))?;
            let options = logs::Options {
                follow,
                tail: logs::tail(&tail)?,
                since,
                timestamps,
                colour: !no_color && *crate::output::COLOUR,
                prefix: !no_log_prefix,
            };
            logs::logs(&connect(&place)?, &target, &services.services, &options).await.map(done)
        }
        C::Exec { project, index, no_tty, detach, env, workdir, service, command, .. } => {
            let target = project::Target::find(&project.over(before))?;
            let request = exec::Request { service, index, no_tty, detach, env, workdir, command };
            exec::exec(&connect(&place)?, &target, request).await
        }
        C::Stop { project, timeout, services } => {
            let target = project::Target::find(&project.over(before))?;
            power::stop(&connect(&place)?, &target, &services.services, timeout).await.map(done)
        }
        C::Start { project, services } => {
            let target = project::Target::find(&project.over(before))?;
            power::start(&connect(&place)?, &target, &services.services).await.map(done)
        }
        C::Restart { project, timeout, services } => {
            let target = project::Target::find(&project.over(before))?;
            power::restart(&connect(&place)?, &target, &services.services, timeout).await.map(done)
        }
        C::Kill { project, signal, services } => {
            let target = project::Target::find(&project.over(before))?;
            power::kill(&connect(&place)?, &target, &services.services, &signal).await.map(done)
        }
        C::Pause { project, services } => {
            let target = project::Target::find(&project.over(before))?;
            power::pause(&connect(&place)?, &target, &services.services).await.map(done)
        }
        C::Unpause { project, services } => {
            let target = project::Target::find(&project.over(before))?;
            power::unpause(&connect(&place)?, &target, &services.services).await.map(done)
        }
        C::Rm { project, force, stop, volumes, services } => {
            let target = project::Target::find(&ProjectOptions::from(project).over(before))?;
            power::remove(&connect(&place)?, &target, &services.services, force, stop, volumes).await.map(done)
        }
        C::Scale { project, scale } => {
            let target = project::Target::find(&project.over(before))?;
            up::scale(&connect(&place)?, &target, &scale).await.map(done)
        }
        C::Images { project, format, quiet, services } => {
            let target = project::Target::find(&project.over(before))?;
            images::images(&connect(&place)?, &target, &services.services, &format, quiet).await.map(done)
        }
        C::Port { project, protocol, service, private_port } => {
            let target = project::Target::find(&project.over(before))?;
            list::port(&connect(&place)?, &target, &service, private_port, &protocol).await.map(done)
        }
        C::Top { project, services } => {
            let target = project::Target::find(&project.over(before))?;
            stats::top(&connect(&place)?, &target, &services.services).await.map(done)
        }
        C::Stats { project, no_stream, format, services } => {
            let target = project::Target::find(&project.over(before))?;
            stats::stats(&connect(&place)?, &target, &services.services, no_stream, &format).await.map(done)
        }
        C::Cp { project, index, source, target: to } => {
            let target = project::Target::find(&project.over(before))?;
            copy::copy(&connect(&place)?, &target, index, &source, &to).await.map(done)
        }
        C::Wait { project, services } => {
            let target = project::Target::find(&project.over(before))?;
            watch::wait(&connect(&place)?, &target, &services).await
        }
        C::Events { project, json, services } => {
            let target = project::Target::find(&project.over(before))?;
            watch::events(&connect(&place)?, &target, &services.services, json).await.map(done)
        }
    }
}
