"""Messages of the gRPC services, generated from proto/; nothing here is edited by hand.

After a change there, from the root of the repository:

    python -m grpc_tools.protoc -Iserving/protocol/pb=proto --python_out=. --pyi_out=. \
        serving/protocol/pb/feedback.proto serving/protocol/pb/model_config.proto \
        serving/protocol/pb/open_inference.proto

The virtual path before `=` gives the files names of our own in protobuf's registry, which is one per process.
"""
