//! The verbs of Compose over the cluster's objects.
//!
//! Each verb reads the objects of one namespace and writes a few of them; nothing here talks to containers directly.
//! The project is compiled on the server, so that every client that sends the same file gets the same objects.

mod apply;
mod build;
mod builder;
mod config;
mod container;
mod copy;
mod down;
mod exec;
mod images;
mod list;
mod logs;
mod nodes;
mod one_off;
mod overlay;
mod patience;
mod ports;
mod power;
mod progress;
mod project;
mod stats;
mod trouble;
mod up;
mod volumes;
mod watch;
mod world;

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
        C::Create(mut options) => {
            options.project = options.project.clone().over(before);
            up::up(&place, (*options).into()).await
        }
        C::Config {
            project,
            format,
            quiet,
            services,
            volumes,
            networks,
            environment,
            images,
            profiles,
            no_interpolate,
            objects,
            output,
            only,
        } => {
            let what = config::What { services, volumes, networks, environment, images, profiles, objects };
            let how = config::How { format, quiet, no_interpolate, output, only };
            config::config(&project.over(before), &what, &how).map(done)
        }
        C::Build { project, no_cache, pull, build_arg, quiet, push, with_dependencies, ssh, services } => {
            let mut project = Project::load(&project.over(before), &services.services)?;
            if with_dependencies {
                up::narrow(&mut project, &services.services, false);
            }
            let named = if with_dependencies { Vec::new() } else { services.services };
            let client = connect_or_start(&place).await?;
            let how = build::How { no_cache, pull, arguments: build_arg, quiet, push, ssh };
            build::build(&client, &project, &named, &how).await.map(done)
        }
        C::Pull { project, include_deps, ignore_buildable, policy, ignore_pull_failures, quiet, services } => {
            let mut project = Project::load(&project.over(before), &services.services)?;
            up::narrow(&mut project, &services.services, !include_deps);
            let client = connect_or_start(&place).await?;
            let how = images::Pull { go_on: ignore_pull_failures, quiet, ignore_buildable, policy };
            images::pull(&client, &project, &how).await.map(done)
        }
        C::Run(options) => {
            let project = ProjectOptions::from(options.project.clone()).over(before);
            one_off::run(&place, &project, *options).await
        }
        C::Ls { all, quiet, format, filter } => {
            list::projects(&connect(&place)?, all, quiet, &format, &filter).await.map(done)
        }
        C::Volumes { project, quiet, format } => {
            let target = project::Target::find(&project.over(before))?;
            volumes::list(&connect(&place)?, &target, quiet, &format).await.map(done)
        }
        // Everything of the namespace goes, whether the file has it or not: there is no need of --remove-orphans.
        C::Down { project, volumes, rmi, timeout, services, .. } => {
            let target = project::Target::find(&project.over(before))?;
            let also = down::Also { volumes, images: rmi.as_deref(), grace: timeout };
            down::down(&connect(&place)?, &target, &services.services, &also).await.map(done)
        }
        C::Ps { project, all, quiet, services_only, status, filter, no_trunc, format, services, .. } => {
            let target = project::Target::find(&project.over(before))?;
            let show =
                list::Show { all, quiet, services_only, format, states: list::states(status, &filter)?, no_trunc };
            list::containers(&connect(&place)?, &target, &services.services, &show).await.map(done)
        }
        C::Logs { project, follow, index, tail, since, timestamps, no_color, no_log_prefix, services } => {
            let target = project::Target::find(&ProjectOptions::from(project).over(before))?;
            let options = logs::Options {
                follow,
                tail: logs::tail(&tail)?,
                since,
                timestamps,
                colour: !no_color && *crate::output::COLOUR,
                prefix: !no_log_prefix,
                index,
            };
            logs::logs(&connect(&place)?, &target, &services.services, &options).await.map(done)
        }
        C::Exec { project, index, no_tty, detach, env, workdir, user, privileged, service, command, .. } => {
            let target = project::Target::find(&project.over(before))?;
            let request = exec::Request { service, index, no_tty, detach, env, workdir, user, privileged, command };
            exec::exec(&connect(&place)?, &target, request).await
        }
        C::Stop { project, timeout, services } => {
            let target = project::Target::find(&project.over(before))?;
            power::stop(&connect(&place)?, &target, &services.services, timeout).await.map(done)
        }
        C::Start { project, wait, wait_timeout, services } => {
            let target = project::Target::find(&project.over(before))?;
            let ready = wait.then_some(wait_timeout.map(std::time::Duration::from_secs));
            power::start(&connect(&place)?, &target, &services.services, ready).await.map(done)
        }
        C::Restart { project, timeout, services, .. } => {
            let target = project::Target::find(&project.over(before))?;
            power::restart(&connect(&place)?, &target, &services.services, timeout).await.map(done)
        }
        C::Kill { project, signal, services, .. } => {
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
        C::Scale { project, scale, .. } => {
            let target = project::Target::find(&project.over(before))?;
            up::scale(&connect(&place)?, &target, &scale).await.map(done)
        }
        C::Images { project, format, quiet, services } => {
            let target = project::Target::find(&project.over(before))?;
            images::images(&connect(&place)?, &target, &services.services, &format, quiet).await.map(done)
        }
        C::Port { project, protocol, service, private_port, .. } => {
            let target = project::Target::find(&project.over(before))?;
            list::port(&connect(&place)?, &target, &service, private_port, &protocol).await.map(done)
        }
        C::Top { project, services } => {
            let target = project::Target::find(&project.over(before))?;
            stats::top(&connect(&place)?, &target, &services.services).await.map(done)
        }
        C::Stats { project, no_stream, all, format, services, .. } => {
            let target = project::Target::find(&project.over(before))?;
            let how = stats::How { once: no_stream, all, json: format == "json" };
            stats::stats(&connect(&place)?, &target, &services.services, &how).await.map(done)
        }
        C::Cp { project, index, follow_link, source, target: to, .. } => {
            let target = project::Target::find(&project.over(before))?;
            copy::copy(&connect(&place)?, &target, index, follow_link, &source, &to).await.map(done)
        }
        C::Wait { project, down_project, services } => {
            let target = project::Target::find(&project.over(before))?;
            let client = connect(&place)?;
            let code = watch::wait(&client, &target, &services).await?;
            if down_project {
                down::down(&client, &target, &[], &down::Also { volumes: false, images: None, grace: None }).await?;
            }
            Ok(code)
        }
        C::Events { project, json, since, services } => {
            let target = project::Target::find(&project.over(before))?;
            watch::events(&connect(&place)?, &target, &services.services, json, since.as_deref()).await.map(done)
        }
    }
}
