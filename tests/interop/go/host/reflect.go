package main

import (
	"context"
	"fmt"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
)

type (
	request  = grpc_reflection_v1.ServerReflectionRequest
	response = grpc_reflection_v1.ServerReflectionResponse
)

// reflect lists the services, and gives the file of each that is in package
// plugin.
func (h *host) reflect(version string) (answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()

	// v1alpha has the messages of v1 under another name.
	shape := grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
	method := fmt.Sprintf("/grpc.reflection.%s.ServerReflection/ServerReflectionInfo", version)
	stream, err := h.conn.NewStream(ctx, &shape, method)
	if err != nil {
		return nil, err
	}

	listed, err := ask(stream, &request{
		MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_ListServices{},
	})
	if err != nil {
		return nil, err
	}
	services := []string{}
	files := map[string][]byte{}
	for _, service := range listed.GetListServicesResponse().GetService() {
		services = append(services, service.Name)
		if !strings.HasPrefix(service.Name, "plugin.") {
			continue
		}
		found, err := ask(stream, &request{
			MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_FileContainingSymbol{
				FileContainingSymbol: service.Name,
			},
		})
		if err != nil {
			return nil, err
		}
		sent := found.GetFileDescriptorResponse().GetFileDescriptorProto()
		if files[service.Name], err = definingFile(service.Name, sent); err != nil {
			return nil, err
		}
	}
	return answer{"services": services, "files": files}, nil
}

func ask(stream grpc.ClientStream, question *request) (*response, error) {
	if err := stream.SendMsg(question); err != nil {
		// The reason is what the stream ended with.
		return nil, stream.RecvMsg(&response{})
	}
	got := &response{}
	if err := stream.RecvMsg(got); err != nil {
		return nil, err
	}
	if refused := got.GetErrorResponse(); refused != nil {
		return nil, status.Error(codes.Code(refused.ErrorCode), refused.ErrorMessage)
	}
	return got, nil
}

// definingFile picks the file of a service out of what was sent, which may
// hold the file's imports too.
func definingFile(service string, sent [][]byte) ([]byte, error) {
	for _, raw := range sent {
		var file descriptorpb.FileDescriptorProto
		if err := proto.Unmarshal(raw, &file); err != nil {
			return nil, fmt.Errorf("%s: %w", service, err)
		}
		for _, defined := range file.Service {
			if file.GetPackage()+"."+defined.GetName() == service {
				return raw, nil
			}
		}
	}
	return nil, fmt.Errorf("%s is in none of the %d files sent for it", service, len(sent))
}
