# The command in an image with nothing else in it, run by a user without rights:
#   docker build -t quantsmith .
#   docker run --rm -v "$PWD:/models" --user "$(id -u):$(id -g)" quantsmith table /models/MODEL --out /models/quants
FROM rust:1.95-alpine AS build
RUN apk add --no-cache musl-dev
WORKDIR /src
COPY . .
RUN cargo build --locked --profile dist -p quantsmith-cli

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /src/target/dist/quantsmith /usr/local/bin/quantsmith
COPY --from=build /src/LICENSE-MIT /src/LICENSE-APACHE /usr/share/doc/quantsmith/
WORKDIR /models
ENTRYPOINT ["/usr/local/bin/quantsmith"]
