# The command in an image with nothing else in it, run by a user without rights:
#   docker build -t quantsmith .
#   docker run --rm -v "$PWD:/models" --user "$(id -u):$(id -g)" quantsmith table /models/MODEL --out /models/quants
# A model of the hub is cached where HF_HOME says, which that user has to be able to write: `-e HF_HOME=/models/.hub`.
FROM rust:1.95-alpine AS build
# git, for the commit that `--version` names.
RUN apk add --no-cache git musl-dev
WORKDIR /src
COPY . .
RUN cargo build --locked --profile dist -p quantsmith-cli

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /src/target/dist/quantsmith /usr/local/bin/quantsmith
COPY --from=build /src/LICENSE-MIT /src/LICENSE-APACHE /usr/share/doc/quantsmith/
WORKDIR /models
ENTRYPOINT ["/usr/local/bin/quantsmith"]
