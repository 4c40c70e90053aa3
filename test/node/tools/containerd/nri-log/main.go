// nri-log: an NRI plugin that says what containerd tells of pods and containers, a line of JSON each
// on standard output, and gives every container one variable more.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/stub"
)

type event struct {
	Event     string          `json:"event"`
	Pod       *api.PodSandbox `json:"pod,omitempty"`
	Container *api.Container  `json:"container,omitempty"`
}

type plugin struct {
	lock sync.Mutex
	out  *json.Encoder
}

func (p *plugin) say(name string, pod *api.PodSandbox, container *api.Container) error {
	p.lock.Lock()
	defer p.lock.Unlock()
	return p.out.Encode(event{name, pod, container})
}

func (p *plugin) Synchronize(_ context.Context, pods []*api.PodSandbox, containers []*api.Container) ([]*api.ContainerUpdate, error) {
	for _, pod := range pods {
		if err := p.say("present", pod, nil); err != nil {
			return nil, err
		}
	}
	return nil, p.say("synchronized", nil, nil)
}

func (p *plugin) RunPodSandbox(_ context.Context, pod *api.PodSandbox) error {
	return p.say("run", pod, nil)
}

func (p *plugin) StopPodSandbox(_ context.Context, pod *api.PodSandbox) error {
	return p.say("stop", pod, nil)
}

func (p *plugin) RemovePodSandbox(_ context.Context, pod *api.PodSandbox) error {
	return p.say("remove", pod, nil)
}

func (p *plugin) CreateContainer(_ context.Context, pod *api.PodSandbox, container *api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
	adjustment := &api.ContainerAdjustment{}
	adjustment.AddEnv("NRI", "was here")
	return adjustment, nil, p.say("create", pod, container)
}

func (p *plugin) StartContainer(_ context.Context, pod *api.PodSandbox, container *api.Container) error {
	return p.say("start", pod, container)
}

func (p *plugin) StopContainer(_ context.Context, pod *api.PodSandbox, container *api.Container) ([]*api.ContainerUpdate, error) {
	return nil, p.say("end", pod, container)
}

func main() {
	s, err := stub.New(&plugin{out: json.NewEncoder(os.Stdout)}, stub.WithPluginName("log"), stub.WithPluginIdx("10"))
	if err == nil {
		err = s.Run(context.Background())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "nri-log:", err)
		os.Exit(1)
	}
}
